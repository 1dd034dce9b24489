// Dynamic loss scaling (Micikevicius et al. 2018): gradients in float16 are computed of the loss times a scale, so that small ones
// do not vanish. Too large a scale makes some of them infinite: the step is left out and the scale halved.
import type { LossScale } from "../types.ts";

/** PyTorch's numbers (torch.amp.GradScaler). Powers of two: scaling by them rounds nothing. */
const FIRST_SCALE = 2 ** 16;
const STEPS_BEFORE_GROWTH = 2000;
/** At 1 the scale is not what makes gradients infinite. */
const LEAST_SCALE = 1;
/** Gradients that vanish at this scale would not have moved anything. */
const LARGEST_SCALE = 2 ** 24;

export const FIRST_LOSS_SCALE: LossScale = { scale: FIRST_SCALE, goodSteps: 0 };

export class LossScaler {
  #state: LossScale = FIRST_LOSS_SCALE;

  get state(): LossScale {
    return this.#state;
  }

  set state(state: LossScale) {
    this.#state = { scale: state.scale, goodSteps: state.goodSteps };
  }

  /** Steps that may be taken at this scale before it grows. */
  get stepsAtThisScale(): number {
    return STEPS_BEFORE_GROWTH - this.#state.goodSteps;
  }

  /** A step was taken. */
  grow(): void {
    const { scale, goodSteps } = this.#state;
    const isDue = goodSteps + 1 === STEPS_BEFORE_GROWTH;
    this.#state = isDue
      ? { scale: Math.min(LARGEST_SCALE, 2 * scale), goodSteps: 0 }
      : { scale, goodSteps: goodSteps + 1 };
  }

  /** Gradients were not finite; false where no smaller scale would help. */
  shrink(): boolean {
    const { scale } = this.#state;
    if (scale <= LEAST_SCALE) return false;
    this.#state = { scale: scale / 2, goodSteps: 0 };
    return true;
  }
}
