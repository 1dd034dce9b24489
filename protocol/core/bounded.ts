// Numbers within bounds, for the schemas of configurations.
import { z } from "zod";

export const integer = (min: number, max: number) => z.int().min(min).max(max);
export const real = (min: number, max: number) => z.number().min(min).max(max);
