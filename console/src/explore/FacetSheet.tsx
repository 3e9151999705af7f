import { Dialog } from "@base-ui/react/dialog";
import type { ReactNode } from "react";
import { Icon } from "../common/icons";

/** The facets on a phone: a sheet from below. */
export function FacetSheet({ children }: { children: ReactNode }) {
  return (
    <Dialog.Root>
      <Dialog.Trigger className="btn sq o" aria-label="Filters">
        <Icon name="explore" />
      </Dialog.Trigger>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className="facet-sheet">
          <div className="facet-head">
            <Dialog.Title className="b">Filters</Dialog.Title>
            <span className="grow" />
            <Dialog.Close className="btn p">Show events</Dialog.Close>
          </div>
          <div className="facets">{children}</div>
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
