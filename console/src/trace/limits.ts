/** Larger traces are not drawn as a graph: the tree reads better. */
export const GRAPH_MAX = 200;
