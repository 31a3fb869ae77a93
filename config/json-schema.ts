import * as z from "zod";
import { environmentSchema } from "./schema";

/** JSON schema of an environment, for editors: point `$schema` of a configuration file at config/environment.schema.json. */
export const environmentJsonSchema = (): string =>
  `${JSON.stringify({ title: "Environment of dagster-eks", ...z.toJSONSchema(environmentSchema, { io: "input" }) }, null, 2)}\n`;
