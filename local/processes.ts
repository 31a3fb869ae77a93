import { execFileSync } from "node:child_process";
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { CliError, EXIT } from "./errors.js";
import { PATHS } from "./settings.js";

/** A process that is known for certain: a process id alone may have been given to another process since. */
export interface ProcessRef {
  readonly pid: number;
  /** When the process started, as the system tells it (opaque; compared as text). */
  readonly started: string;
}

/** The start time of a live process, or undefined when there is none (a zombie counts as none). */
export function startTime(pid: number): string | undefined {
  try {
    // field 22 of stat; the command name in field 2 may hold blanks and parentheses
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    if (existsSync("/proc/self/stat")) return undefined;
  }
  try {
    const line = execFileSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    return line === "" || line.startsWith("Z") ? undefined : line.replace(/^\S+\s+/, "");
  } catch {
    return undefined;
  }
}

export function refOf(pid: number): ProcessRef | undefined {
  const started = startTime(pid);
  return started === undefined ? undefined : { pid, started };
}

export function isAlive(ref: ProcessRef | undefined): ref is ProcessRef {
  return ref !== undefined && startTime(ref.pid) === ref.started;
}

/** Reads a JSON file; undefined when it is missing or cut off. */
export function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as T;
  } catch {
    return undefined;
  }
}

/** Sends SIGTERM (or `signal`) and waits; SIGKILL after `graceMs`. Does nothing when the process is not the one known. */
export async function endProcess(
  ref: ProcessRef,
  { signal = "SIGTERM" as NodeJS.Signals, graceMs = 10_000, group = false } = {},
): Promise<"ended" | "killed" | "gone"> {
  const target = group ? -ref.pid : ref.pid;
  const send = (name: NodeJS.Signals) => {
    try {
      process.kill(target, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
  if (!isAlive(ref)) return "gone";
  send(signal);
  for (const end = Date.now() + graceMs; Date.now() < end; ) {
    await sleep(50);
    if (!isAlive(ref)) return "ended";
  }
  send("SIGKILL");
  for (const end = Date.now() + 5_000; Date.now() < end && isAlive(ref); ) await sleep(50);
  return "killed";
}

/** Ends what is left of a process group whose leader is gone: a killed OpenTofu leaves its provider running. */
export async function endGroupLeftovers(pgid: number, isOurs: (command: string) => boolean): Promise<number> {
  const { stdout, failed } = await execa("ps", ["-A", "-o", "pid=,pgid=,args="], { reject: false });
  if (failed) return 0;
  let ended = 0;
  for (const line of stdout.split("\n")) {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line);
    if (match?.[1] === undefined || Number(match[2]) !== pgid || !isOurs(match[3] ?? "")) continue;
    const ref = refOf(Number(match[1]));
    if (ref === undefined) continue;
    await endProcess(ref, { signal: "SIGKILL", graceMs: 2_000 });
    ended += 1;
  }
  return ended;
}

/** Who listens on a TCP port, as "NAME (process N)"; undefined when the system does not tell. */
export async function portHolder(port: number): Promise<string | undefined> {
  const ss = await execa("ss", ["-Hltnp", `sport = :${port}`], { reject: false });
  const found = /\("([^"]+)",pid=(\d+)/.exec(ss.stdout ?? "");
  if (found) return `${found[1]} (process ${found[2]})`;
  if ((ss.stdout ?? "").trim() !== "") return "a program of another user";
  const lsof = await execa("lsof", ["-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpc"], { reject: false });
  const pid = /^p(\d+)/m.exec(lsof.stdout ?? "");
  if (pid) return `${/^c(.+)/m.exec(lsof.stdout ?? "")?.[1] ?? "a program"} (process ${pid[1]})`;
  return undefined;
}

interface Holder extends ProcessRef {
  readonly command: string;
}

/** Removes a stale lock; gives it back when another process took the lock over between our look and our move. */
function takeAside(path: string, mine: string): void {
  const aside = `${mine}.stale`;
  try {
    renameSync(path, aside);
    if (isAlive(readJson<Holder>(aside))) linkSync(aside, path);
  } catch (error) {
    if (!["ENOENT", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

/** Takes a lock file or names its holder; a lock whose holder is dead is taken over. Returns how to release it. */
export function takeLock(path: string, command: string): { release: () => void } | { holder: Holder } {
  mkdirSync(dirname(path), { recursive: true });
  const me: Holder = { ...(refOf(process.pid) as ProcessRef), command };
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, JSON.stringify(me));
  try {
    for (;;) {
      try {
        linkSync(mine, path); // atomic, and complete from the first moment, unlike open + write
        return { release: () => rmSync(path, { force: true }) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = readJson<Holder>(path);
      if (isAlive(holder)) return { holder };
      takeAside(path, mine);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Runs `work` alone in this checkout. */
export async function withLock<T>(command: string, work: () => Promise<T>): Promise<T> {
  const lock = takeLock(PATHS.lock, command);
  if ("holder" in lock) {
    throw new CliError(
      `\`${command}\` cannot start: \`${lock.holder.command}\` is running in this checkout`,
      {
        why: `process ${lock.holder.pid} holds ${PATHS.lock}`,
        next: "wait until it is done, or interrupt it, and try again",
        code: EXIT.busy,
      },
    );
  }
  try {
    return await work();
  } finally {
    lock.release();
  }
}
