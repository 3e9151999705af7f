import { Menu } from "@base-ui/react/menu";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { copyText } from "../event/clipboard";
import type { Search } from "../common/search";
import { Icon } from "../common/icons";
import { OutcomeMark } from "../common/marks";
import { grouped } from "../common/times";
import type { Play } from "./usePlay";

export type ViewName = "tree" | "lanes" | "graph";

interface Props {
  eventId: string;
  search: Search;
  view: ViewName;
  failures: number;
  effects: number;
  isLowerBound: boolean;
  isPhone: boolean;
  unfoldAll: boolean;
  onUnfoldAll: () => void;
  timeline: (form: "markdown" | "mermaid") => string;
  play: Play;
  /** What stands in place of the choices while the trace is played. */
  strip: ReactNode;
}

const NAMES: Record<ViewName, string> = { tree: "Tree", lanes: "Lanes", graph: "Graph" };

/** Which view of the trace, and what of it. Every choice but unfolding and playing is part of the address. */
export function ViewBar(props: Props) {
  const { isPhone, unfoldAll, onUnfoldAll, play } = props;
  return (
    <div className="tb">
      {play.node === null ? <Choices {...props} /> : props.strip}
      <span className="grow" />
      <button className="btn" aria-pressed={unfoldAll} onClick={onUnfoldAll}>
        <Icon name="unfold" />
        {unfoldAll ? "Fold again" : "Unfold all"}
      </button>
      <button className="btn play-button" onClick={play.toggle}>
        <Icon name={play.isRunning ? "pause" : "play"} />
        {play.isRunning ? "Pause" : play.isStepped && play.node !== null ? "Step" : "Play"}
        {!isPhone && <kbd aria-hidden="true">p</kbd>}
      </button>
      <CopyMenu timeline={props.timeline} />
    </div>
  );
}

function Choices({ eventId, search, view, failures, effects, isLowerBound, isPhone }: Props) {
  const more = isLowerBound ? "+" : "";
  return (
    <>
      <span className="seg" role="group" aria-label="View">
        {(Object.keys(NAMES) as ViewName[]).map((name) => (
          <Link
            key={name}
            to="/trace/$eventId"
            params={{ eventId }}
            search={{ ...search, view: name === "tree" ? undefined : name }}
            replace
            activeOptions={{ exact: true }}
            aria-current={view === name ? "true" : undefined}
            data-on={view === name}
          >
            {NAMES[name]}
          </Link>
        ))}
      </span>
      <span className="sp8" />
      <Toggle eventId={eventId} search={search} name="only" value="failures">
        <OutcomeMark outcome="failure" />
        {isPhone ? "Failures" : "Only failures"} <span className="t3">{grouped(failures) + more}</span>
      </Toggle>
      <Toggle eventId={eventId} search={search} name="blast" value="1">
        <Icon name="effects" />
        {isPhone ? "Blast" : "Blast radius"} <span className="t3">{grouped(effects) + more}</span>
      </Toggle>
    </>
  );
}

function Toggle({ eventId, search, name, value, children }: { eventId: string; search: Search; name: "only" | "blast"; value: string; children: ReactNode }) {
  const isOn = search[name] === value;
  const others = { ...search, only: undefined, blast: undefined };
  return (
    <Link
      className="btn o"
      role="button"
      aria-pressed={isOn}
      to="/trace/$eventId"
      params={{ eventId }}
      search={isOn ? others : { ...others, [name]: value }}
      replace
    >
      {children}
    </Link>
  );
}

function CopyMenu({ timeline }: { timeline: Props["timeline"] }) {
  return (
    <Menu.Root modal={false}>
      <Menu.Trigger className="btn o">
        <Icon name="copy" />
        Copy as timeline
        <Icon name="down" small />
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Positioner align="end" sideOffset={4} className="pos">
          <Menu.Popup className="menu tm-menu">
            <Menu.Item className="mi" onClick={() => void copyText(timeline("markdown"))}>
              Markdown <span className="t3">a list, for a ticket</span>
            </Menu.Item>
            <Menu.Item className="mi" onClick={() => void copyText(timeline("mermaid"))}>
              Mermaid <span className="t3">a flowchart</span>
            </Menu.Item>
          </Menu.Popup>
        </Menu.Positioner>
      </Menu.Portal>
    </Menu.Root>
  );
}
