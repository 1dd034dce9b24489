// Colours where a person looks: on a terminal, unless NO_COLOR or a dumb terminal says otherwise.
import { styleText } from "node:util";

export type Style = "bold" | "dim" | "gray" | "red" | "green" | "yellow" | "cyan";

export type Paint = (style: Style, text: string) => string;

export const plain: Paint = (_style, text) => text;

const colourful: Paint = (style, text) => styleText(style, text, { validateStream: false });

/** See no-color.org: the variable counts when it is set to anything but nothing. */
export function paintFor(
  stream: { readonly isTTY?: boolean },
  environment: Readonly<Record<string, string | undefined>>,
): Paint {
  return stream.isTTY === true && !environment.NO_COLOR && environment.TERM !== "dumb" ? colourful : plain;
}
