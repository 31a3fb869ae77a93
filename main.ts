import { App } from "cdktf";
import { loadEnvironment } from "./config/load";
import { synthesize } from "./lib/synth";
import { composePlatform } from "./stacks";

const app = new App({ stackTraces: false });
composePlatform(app, loadEnvironment(process.env));
synthesize(app);
