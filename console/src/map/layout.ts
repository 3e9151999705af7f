import dagre from "@dagrejs/dagre";
import { pairKey, type MapModel, type Point } from "./model";

export const NODE_HEIGHT = 46;

export interface Layout {
  width: number;
  height: number;
  nodes: Map<string, { x: number; y: number; width: number }>;
  edges: Map<string, { points: Point[]; label: Point }>;
}

/** Where everything lies: causes above effects, as far as there are no loops. */
export function layoutOf(model: MapModel, isNarrow: boolean): Layout {
  const graph = new dagre.graphlib.Graph({ multigraph: false });
  graph.setGraph({ rankdir: "TB", nodesep: isNarrow ? 28 : 56, ranksep: isNarrow ? 44 : 58, edgesep: 22, marginx: 24, marginy: 24 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { type } of model.nodes) graph.setNode(type, { width: widthOf(type), height: NODE_HEIGHT });
  for (const { pair, width } of model.edges) {
    const text = String(pair.events).length * 7 + 10;
    graph.setEdge(pair.causeType, pair.effectType, { width: Math.max(text, width), height: 18, labelpos: "c", weight: Math.max(1, Math.round(width)) });
  }
  dagre.layout(graph);
  const size = graph.graph();
  return {
    width: Math.ceil(size.width ?? 0),
    height: Math.ceil(size.height ?? 0),
    nodes: new Map(model.nodes.map(({ type }) => [type, graph.node(type)])),
    edges: new Map(
      model.edges.map(({ pair }) => {
        const edge = graph.edge(pair.causeType, pair.effectType);
        return [pairKey(pair), { points: edge.points, label: { x: edge.x ?? 0, y: edge.y ?? 0 } }];
      }),
    ),
  };
}

function widthOf(type: string): number {
  return Math.min(300, Math.max(150, 62 + Array.from(type).length * 7));
}
