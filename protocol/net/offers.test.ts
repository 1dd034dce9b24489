// An author that nobody can dial has its payload with others before it announces, and may then be gone.
import { afterEach, expect, test, vi } from "vitest";
import type { SignedUpdate } from "../core/types.ts";
import type { ServedContent } from "../ports.ts";
import { encodeMessage } from "../wire/messages.ts";
import { protocolOfStream } from "../wire/topics.ts";
import { sha256Hex } from "./hash.ts";
import type { Member } from "./testing/run-fixture.ts";
import { areConnected, serving, TestRun, updateOf } from "./testing/run-fixture.ts";
import { createSide } from "./testing/side.ts";

const run = new TestRun();
afterEach(() => run.end());
const until = (condition: () => void) => vi.waitFor(condition, { timeout: 20_000, interval: 20 });
const signal = () => AbortSignal.timeout(20_000);
const PAYLOAD = new Uint8Array(700_000).map((_, at) => (at * 31) % 251);

/** Takes what is offered as a peer does: fetches it from where it is, and serves it on. */
async function taker(): Promise<Member & { readonly offered: SignedUpdate[] }> {
  const held = new Map<string, Uint8Array>();
  const offered: SignedUpdate[] = [];
  const content: Partial<ServedContent> = {
    payload: async (id) => held.get(id),
    async offer(update, from) {
      offered.push(update);
      held.set(update.announcement.payload, await member.network.fetchPayload(update, [from], signal()));
      return true;
    },
  };
  const member = await run.join({}, content);
  return { ...member, offered };
}

test("what was offered over the author's own connection is fetched from its holder when the author is gone", async () => {
  const holder = await taker();
  const author = await run.join({ listen: [] }, serving(PAYLOAD));
  await until(() => expect(areConnected([author], 1)).toBe(true));
  const update = await updateOf(author.network, PAYLOAD);
  expect(await author.network.offerUpdate(holder.network.self, update, signal())).toBe(true);
  expect(holder.offered).toEqual([update]);
  await run.leave(author);
  const late = await run.join();
  await until(() => expect(late.network.connectedPeers()).toEqual([holder.network.self]));
  // Nobody has told it of the holder: whoever is connected may have it.
  expect(sha256Hex(await late.network.fetchPayload(update, [], signal()))).toBe(sha256Hex(PAYLOAD));
});

test("a peer that takes no offers, one that fails and one that is offered too much say no", async () => {
  const indifferent = await run.join();
  const failing = await run.join({}, { offer: () => Promise.reject(new Error("the disk is gone")) });
  const small = await run.join({ maxPayloadBytes: 1000 }, { offer: async () => true });
  const author = await run.join({}, serving(PAYLOAD));
  await until(() => expect(areConnected([author], 3)).toBe(true));
  const update = await updateOf(author.network, PAYLOAD);
  const offer = ({ network }: Member) => author.network.offerUpdate(network.self, update, signal());
  expect(await offer(indifferent)).toBe(false);
  expect(await offer(small)).toBe(false);
  expect(small.network.offences()).toEqual({ oversized: 1 });
  await expect(offer(failing)).rejects.toMatchObject({
    code: expect.stringMatching(/NOT_SERVED|UNREACHABLE/),
  });
  expect(failing.network.offences()).toEqual({});
});

test("offers of what another peer has made, and forged ones, are not taken up", async () => {
  const holder = await taker();
  const author = await run.join({}, serving(PAYLOAD));
  const update = await updateOf(author.network, PAYLOAD);
  const stranger = await createSide([]);
  const offer = async (offered: SignedUpdate) => {
    const [address] = holder.network.addresses();
    const { stream, frames } = await stranger.openRaw(address!, "offer");
    expect(stream.protocol).toBe(protocolOfStream("offer"));
    await frames.write(encodeMessage("offerRequest", { update: offered }), signal());
    return frames.read(signal()).finally(() => frames.abort(new Error("done")));
  };
  expect(await offer(update)).toEqual(encodeMessage("offerResponse", { held: false }));
  const forged = await run.join({}, serving(PAYLOAD));
  const { announcement, envelope } = await updateOf(forged.network, PAYLOAD);
  const tampered = envelope.slice();
  tampered[tampered.length - 1]! ^= 1;
  await until(() => expect(areConnected([forged], 2)).toBe(true));
  await expect(
    forged.network.offerUpdate(holder.network.self, { announcement, envelope: tampered }, signal()),
  ).rejects.toMatchObject({ code: expect.stringMatching(/NOT_SERVED|UNREACHABLE/) });
  expect(holder.network.offences()).toEqual({ "bad-signature": 1 });
  expect(holder.offered).toEqual([]);
  await stranger.stop();
});
