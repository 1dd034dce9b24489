// The narrow logger that the network writes to; pino satisfies it as it is.

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {} };
