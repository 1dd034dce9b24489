// Our training step and somebody else's, one after the other in one run, so that a busy machine is as busy for both. The
// others are programs that speak the protocol at the head of bench/step-pytorch.py.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Batch, ModelConfig } from "#model/types.ts";
import { median } from "./median.ts";
import { Program } from "./program.ts";

export interface Contest {
  readonly config: ModelConfig;
  readonly batchSize: number;
  readonly threads: number;
  /** Flat, where everyone starts. */
  readonly body: Float32Array;
  readonly embedding: Float32Array;
  /** The batch that everyone takes, step after step. */
  readonly batch: Batch;
  /** Turns that everyone has, and steps of a turn. */
  readonly turns: number;
  readonly stepsPerTurn: number;
  /** Takes one of our steps on the batch and gives its loss. */
  readonly ourStep: () => Promise<number>;
  /** Command lines of the others. */
  readonly commands: readonly string[];
}

/** What the others are called, and how they did. Times are of the turns after the first, which warms up. */
export interface Opponent {
  readonly command: string;
  /** Where it could not start: why. All else is absent then. */
  readonly skipped?: string;
  readonly name?: string;
  readonly medianMilliseconds?: number;
  readonly bestMilliseconds?: number;
  /** Its time over ours: above 1 we are faster. The median over turns that lie next to each other, and of the best steps. */
  readonly medianRatio?: number;
  readonly bestRatio?: number;
  /** The largest difference of a loss to ours, over all steps from the same start. */
  readonly largestLossDifference?: number;
  /** Resident size of its process at its peak. */
  readonly peakBytes?: number;
}

/** Threads of OpenMP spin for some milliseconds after their work is done; nobody's turn begins before. */
const PAUSE_MS = 250;

interface Step {
  readonly milliseconds: number;
  readonly loss: number;
}
interface Turn {
  readonly steps: Step[];
  readonly peakBytes: number;
}

export async function compete(contest: Contest): Promise<Opponent[]> {
  const folder = await mkdtemp(join(tmpdir(), "glossa-bench-"));
  const started: Program[] = [];
  try {
    const data = join(folder, "start");
    const { body, embedding, batch } = contest;
    const parts = [body, embedding, batch.inputs, batch.targets];
    await writeFile(
      data,
      parts.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
    );
    const results: Opponent[] = [];
    const playing: { at: number; program: Program; turns: Step[][]; peakBytes: number }[] = [];
    for (const command of contest.commands) {
      const program = new Program(command, [...argumentsOf(contest), "--data", data]);
      started.push(program);
      try {
        const { name } = await program.ready;
        playing.push({ at: results.length, program, turns: [], peakBytes: 0 });
        results.push({ command, name });
      } catch (error) {
        results.push({ command, skipped: (error as Error).message });
      }
    }
    if (playing.length === 0) return results;

    const ours: Step[][] = [];
    for (let turn = 0; turn <= contest.turns; turn++) {
      ours.push(await ourTurn(contest));
      await sleep(PAUSE_MS);
      for (const player of playing) {
        const { steps, peakBytes } = (await player.program.ask(`${contest.stepsPerTurn}`)) as Turn;
        player.turns.push(steps);
        player.peakBytes = peakBytes;
        await sleep(PAUSE_MS);
      }
    }
    for (const { at, turns, peakBytes } of playing) {
      results[at] = { ...results[at]!, ...compare(ours, turns), peakBytes };
    }
    return results;
  } finally {
    for (const program of started) program.end();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Both by turns, the first of which warms up: it counts for the losses alone. */
export function compare(ours: readonly (readonly Step[])[], theirs: readonly (readonly Step[])[]) {
  const times = (turns: readonly (readonly Step[])[]) =>
    turns.slice(1).map((steps) => steps.map(({ milliseconds }) => milliseconds));
  const [ourTimes, theirTimes] = [times(ours), times(theirs)];
  const losses = theirs.flat().map(({ loss }, at) => Math.abs(loss - ours.flat()[at]!.loss));
  return {
    medianMilliseconds: median(theirTimes.flat()),
    bestMilliseconds: Math.min(...theirTimes.flat()),
    medianRatio: median(theirTimes.map((turn, at) => median(turn) / median(ourTimes[at]!))),
    bestRatio: Math.min(...theirTimes.flat()) / Math.min(...ourTimes.flat()),
    largestLossDifference: Math.max(...losses),
  };
}

async function ourTurn({ stepsPerTurn, ourStep }: Contest): Promise<Step[]> {
  const steps: Step[] = [];
  for (let step = 0; step < stepsPerTurn; step++) {
    const startedMs = performance.now();
    const loss = await ourStep();
    steps.push({ milliseconds: performance.now() - startedMs, loss });
  }
  return steps;
}

function argumentsOf({ config, batchSize, threads }: Contest): string[] {
  const { blocks, width, heads, vocabularySize, sequenceLength } = config;
  return Object.entries({
    blocks,
    width,
    heads,
    vocabulary: vocabularySize,
    batch: batchSize,
    sequence: sequenceLength,
    threads,
  }).flatMap(([flag, value]) => [`--${flag}`, `${value}`]);
}

/** The lines that a person reads. */
export function describeOpponents(opponents: readonly Opponent[], tokens: number): string[] {
  return opponents.map((opponent) => {
    if (opponent.skipped !== undefined) return `${opponent.command}: skipped (${opponent.skipped})`;
    const { name, medianMilliseconds, bestMilliseconds, medianRatio, bestRatio } = opponent;
    const speed = ((1000 * tokens) / bestMilliseconds!).toFixed(0);
    return (
      `against ${name}: ${medianRatio!.toFixed(3)} times as fast (median of turns), ${bestRatio!.toFixed(3)} (best step); ` +
      `it takes ${medianMilliseconds!.toFixed(1)} ms, best ${bestMilliseconds!.toFixed(1)} ms, ${speed} tokens/s, ` +
      `and ${Math.round(opponent.peakBytes! / 2 ** 20)} MiB; losses differ by ${opponent.largestLossDifference!.toExponential(1)}`
    );
  });
}
