import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InviteError } from "../errors.ts";
import { vectors } from "./golden/vectors.ts";
import { type Hash, hexSha256, utf8 } from "./hash.ts";
import { formatInvite, MAX_INVITE_ADDRESSES, parseInvite } from "./invite.ts";

const sha256: Hash = (bytes) => createHash("sha256").update(bytes).digest();
const invite = { runId: vectors.invite.runId, addresses: vectors.invite.addresses };
const text = formatInvite(invite, sha256);

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof InviteError) return error.code;
    throw error;
  }
  return "accepted";
}

describe("an invite", () => {
  it.each([vectors.invite, vectors.emptyInvite])(
    "is the string of an independent implementation",
    (golden) => {
      expect(formatInvite(golden, sha256)).toBe(golden.text);
      expect(parseInvite(golden.text, sha256)).toEqual({ runId: golden.runId, addresses: golden.addresses });
    },
  );

  it("carries any run and addresses, also with white space where a terminal wrapped it", () => {
    const address = fc.stringMatching(/^\/[a-z0-9/.:]{1,80}$/);
    fc.assert(
      fc.property(
        fc.nat(),
        fc.array(address, { maxLength: MAX_INVITE_ADDRESSES }),
        fc.nat(50),
        (seed, addresses, at) => {
          const given = { runId: hexSha256(utf8(`${seed}`), sha256), addresses };
          const made = formatInvite(given, sha256);
          expect(parseInvite(`  ${made.slice(0, at)}\n${made.slice(at)}\r\n`, sha256)).toEqual(given);
        },
      ),
    );
  });

  it("with any one character changed, dropped or doubled after the prefix is reported as a typo", () => {
    for (let at = "glossa1".length; at < text.length; at++) {
      const other = text[at] === "x" ? "y" : "x";
      for (const wrong of [
        text.slice(0, at) + other + text.slice(at + 1),
        text.slice(0, at) + text.slice(at + 1),
        text.slice(0, at) + text[at] + text.slice(at),
      ]) {
        expect(refusal(() => parseInvite(wrong, sha256))).toBe("INVITE_TYPO");
      }
    }
  });

  it("with a character that base58 does not have is a typo too", () => {
    expect(refusal(() => parseInvite(`${text.slice(0, -1)}0`, sha256))).toBe("INVITE_TYPO");
  });

  it.each([
    ["nothing", "", "INVITE_NOT_AN_INVITE"],
    ["a multiaddr", "/ip4/1.2.3.4/tcp/1", "INVITE_NOT_AN_INVITE"],
    ["the prefix alone", "glossa1", "INVITE_TYPO"],
    ["a newer version", "glossa2abc", "INVITE_UNKNOWN_VERSION"],
    ["something endless", `glossa1${"z".repeat(100_000)}`, "INVITE_OUT_OF_BOUNDS"],
  ])("is not %s", (_, given, code) => {
    expect(refusal(() => parseInvite(given, sha256))).toBe(code);
  });

  it.each([
    ["a run id that is none", { runId: "abc", addresses: [] }],
    ["an upper-case run id", { runId: "A".repeat(64), addresses: [] }],
    ["an address that is none", { ...invite, addresses: ["example.org:4001"] }],
    ["an address with an escape sequence", { ...invite, addresses: ["/dns4/\u001b[31m/tcp/1"] }],
    ["an address of 600 characters", { ...invite, addresses: [`/${"a".repeat(600)}`] }],
    ["17 addresses", { ...invite, addresses: new Array<string>(17).fill("/ip4/1.2.3.4/tcp/1") }],
  ])("is not made of %s", (_, given) => {
    expect(refusal(() => formatInvite(given, sha256))).toBe("INVITE_OUT_OF_BOUNDS");
  });

  it("holds the longest addresses it allows", () => {
    const longest = { ...invite, addresses: new Array<string>(16).fill(`/${"a".repeat(511)}`) };
    expect(parseInvite(formatInvite(longest, sha256), sha256)).toEqual(longest);
  });
});
