// The error function to float64's last digits, for the reference kernels.

/** Where the series has too many terms and the continued fraction converges in few. */
const SERIES_LIMIT = 3;

export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  const a = Math.abs(x);
  const value = a < SERIES_LIMIT ? series(a) : 1 - complement(a);
  return x < 0 ? -value : value;
}

/** 2/sqrt(pi) * exp(-x^2) * sum 2^n x^(2n+1) / (2n+1)!! (Abramowitz & Stegun 7.1.6): all terms positive. */
function series(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** erfc(x) = exp(-x^2)/sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))) (A & S 7.1.14), from the tail up. */
function complement(x: number): number {
  let tail = x;
  for (let k = 60; k >= 1; k--) tail = x + k / 2 / tail;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / tail;
}
