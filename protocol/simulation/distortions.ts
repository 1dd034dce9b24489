// What liars with a driver of their own make of the update that they have trained.

export const DISTORTIONS = ["sign-flip", "x100", "random"] as const;
export type Distortion = (typeof DISTORTIONS)[number];

/** A random update has ten times the norm of the honest one. */
const NOISE_FACTOR = 10;

export const DISTORT: {
  readonly [D in Distortion]: (delta: Float32Array, random: () => number) => Float32Array;
} = {
  "sign-flip": (delta) => delta.map((value) => -value),
  x100: (delta) => delta.map((value) => 100 * value),
  random: (delta, random) => {
    let squares = 0;
    for (const value of delta) squares += value * value;
    const deviation = NOISE_FACTOR * Math.sqrt(squares / delta.length);
    // Irwin-Hall: the sum of twelve uniform numbers is near enough to normal, and the same on every machine.
    return delta.map(() => {
      let sum = -6;
      for (let draw = 0; draw < 12; draw++) sum += random();
      return deviation * sum;
    });
  },
};
