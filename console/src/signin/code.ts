/** The single-use code of a sign-in link, which comes in the address's fragment so that no server logs it. */

/** The code in a fragment such as "#code=abc", or null. */
export function codeIn(fragment: string): string | null {
  const code = new URLSearchParams(fragment.replace(/^#/, "")).get("code");
  return code === null || code === "" ? null : code;
}

/** Takes the code out of the address bar and of the browser's history. */
export function takeCode(): string | null {
  const code = codeIn(location.hash);
  if (code !== null) history.replaceState(history.state, "", location.pathname + location.search);
  return code;
}

/** Where to go after the sign-in: a path of the console, never another site. */
export function placeAfter(back: string | undefined): string {
  if (back === undefined || !back.startsWith("/") || /^\/[/\\]/.test(back) || /[\u0000-\u001f]/.test(back)) return "/explore";
  return /^\/login\b/.test(back) ? "/explore" : back;
}
