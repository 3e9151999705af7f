import { Icon } from "../common/icons";
import { grouped, sinceRoot } from "../common/times";
import { at, timeOf, type Graph } from "./graph";
import { SPEEDS } from "./play";
import type { Play } from "./usePlay";
import { partsOf, sentenceText } from "./words";

/** What stands in place of the choices of views while a trace is played: the steps, the speed, and the present event. */
export function PlayStrip({ play, graph, onNode }: { play: Play; graph: Graph; onNode: (node: number) => void }) {
  if (play.node === null) return null;
  const node = at(graph.nodes, play.node);
  return (
    <div className="play" role="group" aria-label="Play">
      <button type="button" className="btn sq" aria-label="Step back" title="Step back (,)" onClick={() => play.step(-1)}>
        <Icon name="back" />
      </button>
      <button type="button" className="btn sq" aria-label="Step on" title="Step on (.)" onClick={() => play.step(1)}>
        <Icon name="right" />
      </button>
      {!play.isStepped && (
        <span className="seg" role="group" aria-label="Speed">
          {SPEEDS.map((speed) => (
            <button key={speed} type="button" aria-pressed={speed === play.speed} onClick={() => play.setSpeed(speed)}>
              {speed === 0.5 ? "½" : speed}×
            </button>
          ))}
        </span>
      )}
      <button type="button" className="btn sq" aria-label="End" title="End (Esc)" onClick={play.end}>
        <Icon name="close" />
      </button>
      <span className="xs t2 nw">
        {grouped(play.played)} of {grouped(play.events)} · {sinceRoot(timeOf(node))}
      </span>
      <button type="button" className="cut lk" title="Show it below" aria-live={play.isRunning ? "off" : "polite"} onClick={() => onNode(play.node ?? 0)}>
        <bdi>{sentenceText(partsOf(node))}</bdi>
      </button>
    </div>
  );
}
