import Table from "cli-table3";

const QUIET_INTERVAL_MS = 10_000;
const LIVE_INTERVAL_MS = 200;

/**
 * Progress on long work. On a terminal one line at the bottom is rewritten in place; elsewhere (CI, a pipe) a plain
 * line is printed every 10 s. Progress goes to stderr, results (tables, outputs) to stdout.
 */
export class Report {
  private readonly live = process.stderr.isTTY === true && !process.env["CI"];
  private shown = false;

  line(text: string): void {
    this.clear();
    process.stderr.write(`${text}\n`);
  }

  /** `text` is asked for at each tick; an empty text shows nothing. */
  ticker(text: () => string): { stop: () => void } {
    const tick = () => {
      const now = text();
      if (now === "") return;
      if (!this.live) {
        process.stderr.write(`${now}\n`);
        return;
      }
      const width = (process.stderr.columns ?? 80) - 1;
      process.stderr.write(`\r\x1b[K${now.replaceAll("\n", " | ").slice(0, width)}`);
      this.shown = true;
    };
    const timer = setInterval(tick, this.live ? LIVE_INTERVAL_MS : QUIET_INTERVAL_MS);
    return {
      stop: () => {
        clearInterval(timer);
        this.clear();
      },
    };
  }

  private clear(): void {
    if (!this.shown) return;
    process.stderr.write("\r\x1b[K");
    this.shown = false;
  }
}

/** Plain columns without a frame, so that `awk` can read them; numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const none = { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "" };
  const sides = { "bottom-left": "", "bottom-right": "", left: "", "left-mid": "", mid: "", "mid-mid": "" };
  const result = new Table({
    head: [...head],
    chars: { ...none, ...sides, right: "", "right-mid": "", middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    colAligns: head.map((_, i) => (rows.every((row) => typeof row[i] === "number") ? "right" : "left")),
  });
  for (const row of rows) result.push([...row]);
  return result
    .toString()
    .split("\n")
    .map((text) => text.trimEnd())
    .join("\n");
}

export function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
