// How often a peer that has connections enough makes one more, so that a divided network grows together. Numbers alone: the
// simulator keeps to the same.

/**
 * Halves of a divided network each find as many peers as they want among themselves. So whoever is content goes on to meet
 * strangers, and leaves the one that it met before the last.
 */
export const STRANGER_INTERVAL_MS = 30_000;
export const MOST_STRANGERS = 2;
