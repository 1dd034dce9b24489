import { describe, expect, it } from "vitest";
import { deadlineMs, LEAST_DEADLINE_MS, median, NO_PACE, withArrival, withDuration } from "./deadline.ts";

const MAX = 600_000;
const pace = (arrivalOffsetsMs: number[], roundDurationsMs: number[]) => ({
  arrivalOffsetsMs,
  roundDurationsMs,
  transfersMs: [],
});

describe("the deadline", () => {
  it("is the run's limit while too little is known", () => {
    expect(deadlineMs(NO_PACE, MAX)).toBe(MAX);
    expect(deadlineMs(pace([10, 20], [30]), MAX)).toBe(MAX);
    expect(deadlineMs(pace([10, 20, 30], []), MAX)).toBe(MAX);
  });

  it("is the median plus three robust standard deviations of the arrivals", () => {
    // Median 10,400; deviations 400, 200, 0, 200, 400: MAD 200.
    const arrivals = [10_000, 10_200, 10_400, 10_600, 10_800];
    expect(deadlineMs(pace(arrivals, [11_000]), MAX)).toBeCloseTo(10_400 + 3 * 1.4826 * 200, 6);
  });

  it("is not moved by a few outliers", () => {
    const regular = [10_000, 10_100, 10_200, 10_300, 10_400, 10_500, 10_600];
    const outlying = [...regular.slice(0, 6), 500_000];
    expect(deadlineMs(pace(outlying, [11_000]), MAX)).toBe(deadlineMs(pace(regular, [11_000]), MAX));
  });

  it.each([
    ["half a round at least", [100, 100, 100], [10_000, 12_000, 14_000], 6_000],
    ["three rounds at most", [90_000, 90_000, 90_000], [10_000, 12_000, 14_000], 36_000],
    ["never below the least", [1, 1, 1], [10], LEAST_DEADLINE_MS],
    ["never above the run's limit", [900_000, 900_000, 900_000], [800_000], MAX],
  ])("is %s", (_, arrivals, durations, expected) => {
    expect(deadlineMs(pace(arrivals, durations), MAX)).toBe(expected);
  });

  it("forgets what is long past", () => {
    let known = NO_PACE;
    for (let round = 0; round < 100; round++) known = withDuration(withArrival(known, round), round);
    expect(known.arrivalOffsetsMs).toEqual(Array.from({ length: 64 }, (_, at) => 36 + at));
    expect(known.roundDurationsMs).toEqual([92, 93, 94, 95, 96, 97, 98, 99]);
  });
});

it("the median of an even number of values is the mean of the middle two", () => {
  expect([median([3, 1, 2]), median([4, 1, 3, 2]), median([7])]).toEqual([2, 2.5, 7]);
});
