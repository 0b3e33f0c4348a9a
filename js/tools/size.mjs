// The bundle travels to the browser once for each widget, so it has a budget.
import { statSync } from "node:fs";

const BUDGET = 120_000;
const files = ["xai_widgets/static/widget.js", "xai_widgets/static/widget.css"];
const total = files.reduce((sum, file) => sum + statSync(file).size, 0);
console.log(`front end: ${total.toLocaleString("en")} of ${BUDGET.toLocaleString("en")} bytes`);
if (total > BUDGET) process.exit(1);
