import { memo, type MouseEvent } from "react";
import type { FullSentence } from "../sentences/sentences";
import { SentenceDetail, SentenceHead } from "../sentences/SentenceLine";
import { Icon } from "../common/icons";
import { OutcomeMark } from "../common/marks";
import { usePreferences } from "../common/preferences";
import { clockTime, counted, grouped } from "../common/times";
import type { Reach } from "./reach";
import type { ListRow } from "./rows";

export interface RowActions {
  onPeek: (id: string, options?: { replace?: boolean }) => void;
  onOpen: (id: string) => void;
  onTrace: (id: string) => void;
}

interface Props extends RowActions {
  row: ListRow;
  index: number;
  sentence: FullSentence | undefined;
  reach: Reach | undefined;
  isSelected: boolean;
  /** It is chosen to be compared with another one. */
  isPicked: boolean;
  isTabStop: boolean;
  hidden: readonly string[];
  isPhone: boolean;
  onFocusRow: (index: number) => void;
}

/** An event: mark, time, sentence, resource, causes and effects. On a phone it has two lines. */
export const Row = memo(function Row(props: Props) {
  const { row, index, sentence, isSelected, isTabStop, isPhone, hidden } = props;
  const { event } = row;
  const onClick = (click: MouseEvent) => {
    if (click.metaKey || click.ctrlKey) return void window.open(new URL(`e/${event.id}`, document.baseURI), "_blank", "noopener");
    props.onPeek(event.id);
  };
  return (
    <>
      {row.day && <div className={`day${row.beginsFlow ? " new-flow" : ""}`}>{row.day}</div>}
      <div
        className={`${isPhone ? "mrow row" : "row"}${isSelected ? " sel" : ""}${props.isPicked ? " picked" : ""}${row.beginsFlow && !row.day ? " cutline" : ""}`}
        role="row"
        aria-rowindex={index + 2}
        aria-selected={isSelected}
        tabIndex={isTabStop ? 0 : -1}
        onFocus={() => props.onFocusRow(index)}
        onClick={onClick}
        onDoubleClick={() => props.onOpen(event.id)}
      >
        <span role="gridcell">
          <OutcomeMark outcome={event.outcome} />
          {props.isPicked && <span className="visually-hidden">chosen to compare</span>}
        </span>
        {isPhone ? (
          <PhoneCells {...props} />
        ) : (
          <>
            <span role="gridcell" className="tm">
              <Clock at={event.occurredAt} />
            </span>
            <span role="gridcell" className="said" title={event.eventType}>
              {sentence && (
                <>
                  <span className="cut said-head">
                    <SentenceHead sentence={sentence} actorType={event.actorType} />
                  </span>
                  <SentenceDetail sentence={sentence} />
                </>
              )}
            </span>
            {!hidden.includes("resource") && (
              <span role="gridcell" className="mono t2 in-resource" title={`${event.resourceType} ${event.resourceId}`}>
                <span className="cut">{event.resourceType}</span>
                <span>{event.resourceId.slice(0, 8)}</span>
              </span>
            )}
            <Badges {...props} />
          </>
        )}
      </div>
    </>
  );
});

function PhoneCells(props: Props) {
  const { sentence, row } = props;
  return (
    <>
      <span role="gridcell" className="m2">
        <span className="cut">{sentence && <SentenceHead sentence={sentence} actorType={row.event.actorType} />}</span>
        <span className="l2 said">{sentence && <SentenceDetail sentence={sentence} />}</span>
      </span>
      <span role="gridcell" className="m2 r">
        <span className="tm">
          <Clock at={row.event.occurredAt} short />
        </span>
        <span className="l2">
          <Badges {...props} plain />
        </span>
      </span>
    </>
  );
}

function Badges({ reach, hidden, plain = false }: Props & { plain?: boolean }) {
  const more = reach?.atLeast ? "+" : "";
  const causes = reach && (
    <span className="badge" title={`${counted(reach.causes, "cause")} up to the root`}>
      <Icon name="up" />
      {grouped(reach.causes)}
    </span>
  );
  const effects = reach && (
    <span className="badge" title={`Led to ${reach.atLeast ? "at least " : ""}${counted(reach.effects, "event")}, ${grouped(reach.failedEffects)} failed`}>
      <Icon name="effects" />
      {grouped(reach.effects)}
      {more}
    </span>
  );
  if (plain) return <>{causes} {effects}</>;
  return (
    <>
      {!hidden.includes("causes") && (
        <span role="gridcell" className="r">
          {causes}
        </span>
      )}
      {!hidden.includes("effects") && (
        <span role="gridcell" className="r">
          {effects}
        </span>
      )}
    </>
  );
}

function Clock({ at, short = false }: { at: string; short?: boolean }) {
  const { zone } = usePreferences();
  const { date, time, milliseconds } = clockTime(at, zone);
  return (
    <time dateTime={at} title={`${date} ${time}${milliseconds} ${zone === "utc" ? "UTC" : "local"}`}>
      {time}
      {!short && <s>{milliseconds}</s>}
    </time>
  );
}
