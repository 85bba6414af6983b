interface Env {
  GREETING: string;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(request.url);
    console.log('called', request.method, pathname);
    return Response.json({ message: `${env.GREETING}, world!`, path: pathname });
  },
};
