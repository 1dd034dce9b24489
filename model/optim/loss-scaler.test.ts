import { describe, expect, it } from "vitest";
import { FIRST_LOSS_SCALE, LossScaler } from "./loss-scaler.ts";

describe("the scale of the loss", () => {
  it("doubles after so many steps in a row, and only then", () => {
    const scaler = new LossScaler();
    const needed = scaler.stepsAtThisScale;
    for (let step = 1; step < needed; step++) {
      scaler.grow();
      expect(scaler.state).toEqual({ scale: FIRST_LOSS_SCALE.scale, goodSteps: step });
      expect(scaler.stepsAtThisScale).toBe(needed - step);
    }
    scaler.grow();
    expect(scaler.state).toEqual({ scale: 2 * FIRST_LOSS_SCALE.scale, goodSteps: 0 });
  });

  it("halves with each step that was not finite, counts anew, and says when halving is no use any more", () => {
    const scaler = new LossScaler();
    scaler.grow();
    let halvings = 0;
    while (scaler.shrink()) {
      halvings++;
      expect(scaler.state).toEqual({ scale: FIRST_LOSS_SCALE.scale / 2 ** halvings, goodSteps: 0 });
    }
    expect(scaler.state.scale).toBe(1);
  });

  it("has an upper bound, and goes on from what was kept of it", () => {
    const scaler = new LossScaler();
    for (let step = 0; step < 20 * 2000; step++) scaler.grow();
    expect(scaler.state).toEqual({ scale: 2 ** 24, goodSteps: 0 });
    scaler.state = { scale: 8, goodSteps: 1999 };
    scaler.grow();
    expect(scaler.state).toEqual({ scale: 16, goodSteps: 0 });
  });
});
