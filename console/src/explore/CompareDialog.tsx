import { Dialog } from "@base-ui/react/dialog";
import { useQuery } from "@tanstack/react-query";
import { payloadTextOf, type LogEvent } from "../api/events";
import { Icon } from "../common/icons";
import { counted } from "../common/times";
import { DiffTable } from "../event/DiffTable";
import { fieldRows, inOrder } from "../event/fields";
import { diffRows, payloadRows } from "../event/payload";
import { SafeText } from "../event/SafeText";
import { sentenceOfEvent, useWords } from "../sentences/words";
import { SentenceHead } from "../sentences/SentenceLine";
import { eventOptions } from "./answers";

/** How many events are chosen, and what to do with them. Its words are announced. */
export function PickBar({ count, onCompare, onClear }: { count: number; onCompare: () => void; onClear: () => void }) {
  return (
    <div className={count === 0 ? "visually-hidden" : "pickbar"}>
      <span role="status">
        {count === 1 && "One event is chosen. Choose another one with x to compare them."}
        {count === 2 && "Two events are chosen."}
      </span>
      {count === 2 && (
        <button type="button" className="btn p" onClick={onCompare}>
          Compare <kbd aria-hidden="true">d</kbd>
        </button>
      )}
      {count > 0 && (
        <button type="button" className="btn o" onClick={onClear}>
          Clear
        </button>
      )}
    </div>
  );
}

/** What differs between two events: their fields, then their payloads. The earlier one is at the left. */
export function CompareDialog({ ids, onClose }: { ids: readonly [string, string]; onClose: () => void }) {
  const [one, other] = [useQuery(eventOptions(ids[0])), useQuery(eventOptions(ids[1]))];
  const error = one.error ?? other.error;
  return (
    <Dialog.Root open onOpenChange={(isOpen) => !isOpen && onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className="dialog compare">
          <div className="fx g2">
            <Dialog.Title className="dialog-title grow">Two events compared</Dialog.Title>
            <Dialog.Close className="btn sq" aria-label="Close">
              <Icon name="close" />
            </Dialog.Close>
          </div>
          {error && (
            <p className="warn-text" role="alert">
              {error.message}
            </p>
          )}
          {one.data && other.data ? <Differences events={inOrder(one.data, other.data)} /> : !error && <p className="t3">Reading both events…</p>}
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Differences({ events: [one, other] }: { events: readonly [LogEvent, LogEvent] }) {
  const fields = fieldRows(one, other);
  const differing = fields.filter((row) => !row.isSame);
  const same = fields.length - differing.length;
  const rows = diffRows(payloadRows(payloadTextOf(one)) ?? [], payloadRows(payloadTextOf(other)) ?? []);
  const changes = rows.filter((row) => row.change !== "same").length;
  return (
    <>
      <div className="compare-heads">
        <Said event={one} />
        <Said event={other} />
      </div>
      <h3 className="lab">
        Fields <span className="n">{counted(same, "field")} the same</span>
      </h3>
      <div className="scroll">
        <table className="diff">
          <thead>
            <tr>
              <th>Field</th>
              <th>Earlier</th>
              <th>Later</th>
            </tr>
          </thead>
          <tbody>
            {differing.map((row) => (
              <tr key={row.name} className="changed">
                <td>{row.name}</td>
                <td>
                  <SafeText text={row.one} />
                </td>
                <td>
                  <SafeText text={row.other} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <h3 className="lab">
        Payload <span className="n">{changes === 0 ? "the same in both" : `${counted(changes, "difference")}`}</span>
      </h3>
      <div className="scroll">
        <DiffTable rows={rows} before="Earlier" after="Later" />
      </div>
    </>
  );
}

function Said({ event }: { event: LogEvent }) {
  const words = useWords();
  return (
    <p>
      {words && <SentenceHead sentence={sentenceOfEvent(event, words)} actorType={event.actorType} />}{" "}
      <a className="link mono" href={`e/${event.id}`}>
        {event.id.slice(0, 8)}
      </a>
    </p>
  );
}
