import { Dialog } from "@base-ui/react/dialog";
import { Menu } from "@base-ui/react/menu";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState, type FormEvent } from "react";
import { ROOT, send } from "../api/client";
import { Icon } from "../common/icons";
import { COLUMNS, parametersOf, searchOf, type Change, type Exploration } from "./address";
import { viewsOptions, type View } from "./answers";

const COLUMN_NAMES = { resource: "Resource", causes: "Causes", effects: "Effects" } as const;

interface Props {
  exploration: Exploration;
  change: Change;
  /** A phone has no button for the live list, so the menu has one. */
  isPhone: boolean;
}

/** Saved views, export of what is shown, and columns. */
export function MoreMenu({ exploration, change, isPhone }: Props) {
  const [dialog, setDialog] = useState<"save" | "views" | null>(null);
  const { hidden } = exploration;
  const exportOf = (format: string) => `${ROOT}api/v1/events/export?${parametersOf(exploration, { format, order: "desc" })}`;
  return (
    <>
      <Menu.Root modal={false}>
        <Menu.Trigger className="btn sq o" aria-label="More: views, export, columns">
          <Icon name="more" />
        </Menu.Trigger>
        <Menu.Portal>
          <Menu.Positioner sideOffset={6} align="end" className="floating">
            <Menu.Popup className="menu">
              {isPhone && (
                <>
                  <Menu.CheckboxItem checked={exploration.live} onCheckedChange={(live) => change({ live }, { replace: true })} closeOnClick>
                    <Checked />
                    Live
                  </Menu.CheckboxItem>
                  <Menu.CheckboxItem
                    checked={exploration.compares}
                    disabled={!exploration.from}
                    onCheckedChange={(compares) => change({ compares }, { replace: true })}
                    closeOnClick
                  >
                    <Checked />
                    Compare with the period before
                  </Menu.CheckboxItem>
                  <Menu.Separator className="menu-line" />
                </>
              )}
              <Menu.Item onClick={() => setDialog("save")}>Save this view…</Menu.Item>
              <Menu.Item onClick={() => setDialog("views")}>Saved views…</Menu.Item>
              <Menu.Separator className="menu-line" />
              {(["ndjson", "csv"] as const).map((format) => (
                <Menu.LinkItem key={format} href={exportOf(format)} download closeOnClick>
                  Export as {format === "csv" ? "CSV" : "NDJSON"}
                </Menu.LinkItem>
              ))}
              <Menu.Separator className="menu-line" />
              {COLUMNS.map((column) => (
                <Menu.CheckboxItem
                  key={column}
                  checked={!hidden.includes(column)}
                  onCheckedChange={(checked) =>
                    change({ hidden: checked ? hidden.filter((each) => each !== column) : [...hidden, column] }, { replace: true })
                  }
                >
                  <Checked />
                  {COLUMN_NAMES[column]}
                </Menu.CheckboxItem>
              ))}
            </Menu.Popup>
          </Menu.Positioner>
        </Menu.Portal>
      </Menu.Root>
      <Dialog.Root open={dialog !== null} onOpenChange={(open) => !open && setDialog(null)}>
        <Dialog.Portal>
          <Dialog.Backdrop className="backdrop" />
          <Dialog.Popup className="dialog">
            {dialog === "save" ? (
              <SaveView exploration={exploration} onDone={() => setDialog(null)} />
            ) : (
              <SavedViews onDone={() => setDialog(null)} />
            )}
          </Dialog.Popup>
        </Dialog.Portal>
      </Dialog.Root>
    </>
  );
}

function Checked() {
  return (
    <span className="menu-check">
      <Menu.CheckboxItemIndicator>
        <Icon name="check" small />
      </Menu.CheckboxItemIndicator>
    </span>
  );
}

/** The address of what is shown, without what is selected. */
function addressOf(exploration: Exploration): string {
  const pairs = Object.entries(searchOf({ ...exploration, sel: undefined, diff: undefined })).filter((pair): pair is [string, string] => pair[1] !== undefined);
  const search = new URLSearchParams(pairs).toString();
  return search ? `/explore?${search}` : "/explore";
}

function SaveView({ exploration, onDone }: { exploration: Exploration; onDone: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState(exploration.q);
  const [problem, setProblem] = useState<string | null>(null);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      await send("api/v1/views", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ name: name.trim(), address: addressOf(exploration) }),
      });
      await client.invalidateQueries({ queryKey: viewsOptions.queryKey });
      onDone();
    } catch (error) {
      setProblem(error instanceof Error ? error.message : "The view could not be saved.");
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <Dialog.Title className="dialog-title">Save this view</Dialog.Title>
      <Dialog.Description className="t2">Everybody of this tenant can open it. Its address holds the query and the period.</Dialog.Description>
      <label className="field">
        Name
        <input value={name} maxLength={100} required onChange={(event) => setName(event.target.value)} />
      </label>
      {problem && (
        <p className="warn-text" role="alert">
          {problem}
        </p>
      )}
      <div className="fx g2 dialog-actions">
        <Dialog.Close className="btn">Cancel</Dialog.Close>
        <button className="btn p" type="submit" disabled={name.trim() === ""}>
          Save
        </button>
      </div>
    </form>
  );
}

function SavedViews({ onDone }: { onDone: () => void }) {
  const { data, error } = useQuery(viewsOptions);
  const client = useQueryClient();
  const navigate = useNavigate();
  const [problem, setProblem] = useState<string | null>(null);
  const open = (view: View) => {
    onDone();
    const search = Object.fromEntries(new URL(view.address, location.origin).searchParams);
    void navigate({ to: "/explore", search });
  };
  const drop = async (view: View) => {
    try {
      await send(`api/v1/views/${view.id}`, { method: "DELETE" });
      await client.invalidateQueries({ queryKey: viewsOptions.queryKey });
    } catch (failed) {
      setProblem(failed instanceof Error ? failed.message : "The view could not be deleted.");
    }
  };
  const said = problem ?? (error instanceof Error ? error.message : null);
  const views = data?.filter((view) => view.address.startsWith("/explore"));
  return (
    <>
      <Dialog.Title className="dialog-title">Saved views</Dialog.Title>
      {said && (
        <p className="warn-text" role="alert">
          {said}
        </p>
      )}
      {views?.length === 0 && <p className="t2">There are none yet. “Save this view” keeps the query and the period under a name.</p>}
      <ul className="views">
        {views?.map((view) => (
          <li key={view.id}>
            <button className="menu-item grow" onClick={() => open(view)}>
              <bdi className="cut">{view.name}</bdi>
              <bdi className="t3 xs mono cut">{decodeURIComponent(view.address.replace(/\+/g, " "))}</bdi>
            </button>
            <button className="btn sq" aria-label={`Delete ${view.name}`} onClick={() => void drop(view)}>
              <Icon name="close" />
            </button>
          </li>
        ))}
      </ul>
      <div className="fx g2 dialog-actions">
        <Dialog.Close className="btn o">Close</Dialog.Close>
      </div>
    </>
  );
}
