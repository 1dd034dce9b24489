// One peer of a simulation through all its lives: the production driver on a simulated network, disk and clock, with the
// time that arithmetic and disk take on a real machine. Observes its driver; decides nothing.

import type { ProtocolEvent } from "../core/protocol-events.ts";
import type { PeerId, Phase, SignedUpdate } from "../core/types.ts";
import { createDriver, type Driver, type DriverOptions } from "../driver.ts";
import type { NetworkPort, StorePort } from "../ports.ts";
import { MemoryDisk, memoryStore } from "./memory-store.ts";
import { Power } from "./power.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import { blankDisk, type StandInDisk, type StandInOptions, StandInTrainer } from "./stand-in-trainer.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** Milliseconds that a peer's thread for arithmetic or its disk is busy with one body of the planned size. */
export interface BodyCosts {
  /** Compressing the own update. */
  readonly encodeMs: number;
  /** Hashing, checking, decoding and adding another's. */
  readonly applyMs: number;
  /** Folding a round's mean into the body and hashing that. */
  readonly openMs: number;
  /** Writing a checkpoint. */
  readonly saveMs: number;
}

export interface SimulatedPeerOptions {
  readonly id: PeerId;
  readonly driver: DriverOptions;
  readonly trainer: Omit<StandInOptions, "onComputed">;
  readonly costs: BodyCosts;
  readonly onEvent: (peer: SimulatedPeer, event: ProtocolEvent) => void;
}

/** From a start of the process to its end. */
export interface Life {
  readonly bootMs: number;
  firstRoundMs: number | undefined;
  endMs: number | undefined;
}

export class SimulatedPeer {
  readonly id: PeerId;
  readonly disk = new MemoryDisk({ archives: false });
  readonly lives: Life[] = [];
  driver: Driver | undefined;
  computeMs = 0;
  segments = 0;
  /** When it had trained all it will. */
  restMs: number | undefined;
  round = 0;
  phase: Phase = "waiting";
  failure: unknown;
  readonly #options: SimulatedPeerOptions;
  readonly #network: SimulatedNetwork;
  readonly #clock: VirtualClock;
  readonly #trainerDisk: StandInDisk;
  #power = new Power();
  #busyUntilMs = 0;

  constructor(options: SimulatedPeerOptions, network: SimulatedNetwork, clock: VirtualClock) {
    this.id = options.id;
    this.#options = options;
    this.#network = network;
    this.#clock = clock;
    this.#trainerDisk = blankDisk(options.driver.layout.total);
  }

  get isUp(): boolean {
    return this.#power.on && this.driver !== undefined && this.failure === undefined;
  }

  get life(): Life | undefined {
    return this.lives.at(-1);
  }

  /** Liars that run a driver hand over other updates than they trained. */
  get isHonest(): boolean {
    return this.#options.trainer.distort === undefined;
  }

  async boot(): Promise<void> {
    const { driver: options, trainer, onEvent } = this.#options;
    const power = new Power();
    this.#power = power;
    this.#busyUntilMs = 0;
    this.phase = "waiting";
    this.failure = undefined;
    const life: Life = { bootMs: this.#clock.nowMs(), firstRoundMs: undefined, endMs: undefined };
    this.lives.push(life);
    const clock = power.clock(this.#clock);
    const onComputed = (ms: number) => {
      if (!power.on) return;
      this.computeMs += ms;
      this.segments++;
    };
    const driver = createDriver(options, {
      network: this.#slowed(this.#network.port(this.id, power)),
      trainer: new StandInTrainer({ ...trainer, onComputed }, this.#trainerDisk, clock, power),
      store: this.#slowedStore(memoryStore(this.disk, power)),
      clock,
      observer: {
        onEvent: (event) => {
          if (!power.on) return;
          this.#note(event, life);
          onEvent(this, event);
        },
      },
    });
    this.driver = driver;
    const over = () => {
      if (!power.on) return;
      life.endMs ??= this.#clock.nowMs();
      this.#network.unplug(this.id);
      power.cut();
    };
    driver.done.then(over, (error) => {
      if (power.on) this.failure = error;
      over();
    });
    await driver.start(new AbortController().signal);
    this.round = driver.status().round;
    this.#network.plug(this.id, driver);
  }

  /** kill -9: memory is gone, the disk stays. */
  crash(): void {
    this.#power.cut();
    const { life } = this;
    if (life !== undefined) life.endMs ??= this.#clock.nowMs();
    this.#network.unplug(this.id);
  }

  /** Ctrl-C: says goodbye, saves and goes. */
  leave(): void {
    this.driver?.requestStop();
  }

  #note(event: ProtocolEvent, life: Life): void {
    if (event.type === "phase-changed") this.phase = event.phase;
    if (event.type === "round-started") {
      life.firstRoundMs ??= this.#clock.nowMs();
      this.round = event.round;
      if (event.round >= this.#options.trainer.endRound) this.restMs ??= this.#clock.nowMs();
    }
    // With overlap only the end of the run leaves it without a step to take while a round is collected.
    const { trainer, driver } = this.#options;
    const isLast = event.type === "published" && event.round + 1 >= trainer.endRound;
    if (isLast && driver.config.averaging.overlap === "on") this.restMs ??= this.#clock.nowMs();
    if (event.type === "round-applied") this.round = event.round + 1;
    if (event.type === "synced") this.round = event.round;
  }

  /** One thing after another, as the driver asks for it; messages are answered meanwhile. */
  #work(ms: number): Promise<void> {
    if (ms <= 0) return Promise.resolve();
    const now = this.#clock.nowMs();
    this.#busyUntilMs = Math.max(now, this.#busyUntilMs) + ms;
    return this.#power.through(this.#clock.sleep(this.#busyUntilMs - now));
  }

  #slowed(port: NetworkPort): NetworkPort {
    const { encodeMs, applyMs } = this.#options.costs;
    return {
      ...port,
      signUpdate: async (announcement): Promise<SignedUpdate> => {
        await this.#work(encodeMs);
        return port.signUpdate(announcement);
      },
      fetchPayload: async (update, holders, signal) => {
        const payload = await port.fetchPayload(update, holders, signal);
        await this.#work(applyMs);
        return payload;
      },
    };
  }

  #slowedStore(store: StorePort): StorePort {
    const { openMs, saveMs } = this.#options.costs;
    let savedRound = -1;
    return {
      ...store,
      save: async (checkpoint) => {
        const opens = checkpoint.round !== savedRound;
        savedRound = checkpoint.round;
        await this.#work(saveMs + (opens ? openMs : 0));
        await store.save(checkpoint);
      },
    };
  }
}
