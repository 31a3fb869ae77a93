// Prints which OpenTofu and which AWS provider the local target would use, as JSON.
import { Report } from "../../../local/report.js";
import { findAwsProvider, findTofu } from "../../../local/toolchain.js";

const report = new Report();
const tofu = await findTofu(report);
console.log(JSON.stringify({ tofu, provider: await findAwsProvider(tofu, report) }));
