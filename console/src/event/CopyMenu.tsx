import { Menu } from "@base-ui/react/menu";
import { useState, type ReactNode } from "react";
import type { LogEvent } from "../api/events";
import type { FullSentence } from "../sentences/sentences";
import { useShortcuts } from "../common/shortcuts";
import { copyText } from "./clipboard";
import { copiesOf, type Copy } from "./copies";

/** An event as text to paste elsewhere. `children` is what the button shows. */
export function CopyMenu({ event, sentence, className, children }: { event: LogEvent; sentence: FullSentence; className: string; children: ReactNode }) {
  const [isOpen, setOpen] = useState(false);
  const { plain, asCode } = copiesOf(event, sentence, document.baseURI);
  useShortcuts("Event", [
    { keys: "c", does: "Copy as link, id, JSON, curl, command, Python or Markdown", run: () => setOpen(true) },
    { keys: "y", does: "Copy the link", run: () => void copyText(plain[0]?.text ?? "") },
  ]);
  return (
    <Menu.Root open={isOpen} onOpenChange={setOpen} modal={false}>
      <Menu.Trigger className={className} aria-label="Copy">
        {children}
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Positioner sideOffset={6} align="start" className="floating">
          <Menu.Popup className="menu">
            {plain.map((copy) => (
              <Item key={copy.name} copy={copy} />
            ))}
            <Menu.Separator className="menu-line" />
            {asCode.map((copy) => (
              <Item key={copy.name} copy={copy} />
            ))}
          </Menu.Popup>
        </Menu.Positioner>
      </Menu.Portal>
    </Menu.Root>
  );
}

function Item({ copy }: { copy: Copy }) {
  return (
    <Menu.Item onClick={() => void copyText(copy.text)}>
      {copy.name}
      {copy.keys && <kbd>{copy.keys}</kbd>}
    </Menu.Item>
  );
}

