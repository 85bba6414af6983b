import { Hono } from 'hono';
import { z } from 'zod';

interface Env {
  Bindings: { readonly MAX_TODOS: number };
}

const newTodo = z.strictObject({ title: z.string().trim().min(1).max(200) });
const patchTodo = z.strictObject({ done: z.boolean() });
const todoId = z.coerce.number().int().min(1);

interface Todo {
  readonly id: number;
  readonly title: string;
  readonly done: boolean;
}

const todos = new Map<number, Todo>();
let lastId = 0;

const app = new Hono<Env>();

app.get('/todos', (context) => context.json([...todos.values()]));

app.post('/todos', async (context) => {
  const parsed = newTodo.safeParse(await context.req.json().catch(() => undefined));
  if (!parsed.success) return context.json({ error: z.prettifyError(parsed.error) }, 422);
  if (todos.size >= context.env.MAX_TODOS) return context.json({ error: 'the list is full' }, 409);
  lastId += 1;
  const todo: Todo = { id: lastId, title: parsed.data.title, done: false };
  todos.set(todo.id, todo);
  return context.json(todo, 201, { location: `/todos/${todo.id}` });
});

app.get('/todos/:id', (context) => {
  const todo = todos.get(todoId.catch(0).parse(context.req.param('id')));
  return todo === undefined ? context.json({ error: 'no such todo' }, 404) : context.json(todo);
});

app.patch('/todos/:id', async (context) => {
  const todo = todos.get(todoId.catch(0).parse(context.req.param('id')));
  if (todo === undefined) return context.json({ error: 'no such todo' }, 404);
  const parsed = patchTodo.safeParse(await context.req.json().catch(() => undefined));
  if (!parsed.success) return context.json({ error: z.prettifyError(parsed.error) }, 422);
  const changed: Todo = { ...todo, done: parsed.data.done };
  todos.set(changed.id, changed);
  return context.json(changed);
});

app.delete('/todos/:id', (context) => {
  const deleted = todos.delete(todoId.catch(0).parse(context.req.param('id')));
  return deleted ? context.body(null, 204) : context.json({ error: 'no such todo' }, 404);
});

export default app;
