/* oxlint-disable import/no-absolute-path -- layers are mounted at /opt/, whichever layer a module comes from */
import { greeting } from '/opt/greeting.js';
import { names } from '/opt/names.js';

export default {
  fetch(): Response {
    return Response.json(names.map((name) => greeting(name)));
  },
};
