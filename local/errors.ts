/** Exit codes of every command; `--help` prints this table. 64, 69 and 130 follow sysexits.h and the shells. */
export const EXIT = {
  ok: 0,
  failure: 1,
  changes: 2,
  usage: 64,
  unavailable: 69,
  busy: 75,
  interrupted: 130,
} as const;

export const EXIT_TEXT = [
  "Exit codes:",
  "  0    done; for plan: no stack would change",
  "  1    it failed",
  "  2    plan: changes are pending",
  "  64   wrong usage or a wrong setting",
  "  69   a tool or a server that is needed is not available",
  "  75   another command is running in this checkout; try again",
  "  130  interrupted; the state was saved",
].join("\n");

/** An expected error: shown as what failed, why, and what to do next; without a stack unless asked for. */
export class CliError extends Error {
  readonly why: string;
  readonly next: string;
  readonly code: number;

  constructor(what: string, detail: { why: string; next: string; code?: number; cause?: unknown }) {
    super(what, { cause: detail.cause });
    this.name = "CliError";
    this.why = detail.why;
    this.next = detail.next;
    this.code = detail.code ?? EXIT.failure;
  }

  render(): string {
    const indent = (text: string) => text.trimEnd().replaceAll("\n", "\n        ");
    return `error:  ${indent(this.message)}\nwhy:    ${indent(this.why)}\nnext:   ${indent(this.next)}\n`;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
