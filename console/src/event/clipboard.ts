/** Copies a text, and says so for a moment at the foot of the page. */
export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    // Without TLS a page may not use the clipboard; the older way still works after a click.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    say(isCopied ? "Copied" : "This browser does not let the page copy");
  }
}

const SHOWN_MS = 1_600;
let timer = 0;

function say(text: string): void {
  let place = document.getElementById("said");
  if (place === null) {
    place = document.createElement("div");
    place.id = "said";
    place.className = "toast";
    place.setAttribute("role", "status");
    document.body.append(place);
  }
  place.textContent = text;
  place.dataset.shown = "yes";
  clearTimeout(timer);
  timer = window.setTimeout(() => delete place.dataset.shown, SHOWN_MS);
}
