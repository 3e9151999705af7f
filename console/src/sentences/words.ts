import { queryOptions, useQuery } from "@tanstack/react-query";
import { getJson } from "../api/client";
import { payloadTextOf, type LogEvent } from "../api/events";
import { sentenceOf, type FullSentence, type Words } from "./sentences";

const LISTS = ["past", "objects", "without_object", "quotes", "errors", "results", "arguments", "hidden", "kinds"] as const;

export const wordsOptions = queryOptions({
  queryKey: ["sentences"],
  queryFn: async ({ signal }) => complete(await getJson<Partial<Words>>("api/v1/sentences", signal)),
  staleTime: Number.POSITIVE_INFINITY,
});

/** The words in force, once they are here. */
export function useWords(): Words | undefined {
  return useQuery(wordsOptions).data;
}

/** The words with none missing: without any, an event still reads as its actor and its type. */
function complete(answer: Partial<Words>): Words {
  const grammar = Object.fromEntries(LISTS.map((name) => [name, answer.grammar?.[name] ?? []])) as Words["grammar"];
  return {
    verbs: answer.verbs ?? {},
    unquoted: answer.unquoted ?? {},
    unquoted_objects: answer.unquoted_objects ?? {},
    object_texts: answer.object_texts ?? {},
    detail_texts: answer.detail_texts ?? {},
    grammar,
  };
}

const NO_WORDS = complete({});

/** The sentence of an event from a list. */
export function sentenceOfEvent(event: LogEvent, words: Words | undefined): FullSentence {
  return sentenceOf(event, payloadTextOf(event), words ?? NO_WORDS);
}
