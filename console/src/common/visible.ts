/** Untrusted text on one line, in which nothing is hidden. Pure. */

/**
 * Characters that turn the direction of text or show nothing, and those that control a terminal. Those that join a
 * pictograph or Arabic letters are none of them.
 */
export const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d|(?<!\p{Script=Arabic})\u200c/u;

const ALL = new RegExp(HIDDEN.source, "gu");

/** What a hidden character is called, as U+202E. */
export const codePointName = (character: string): string => `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;

/** A name or a sentence as it is shown: what is hidden in it has its code, so that nobody passes for somebody else. */
export function visible(text: string): string {
  return HIDDEN.test(text) ? text.replace(ALL, (character) => `[${codePointName(character)}]`) : text;
}
