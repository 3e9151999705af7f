import { Autocomplete } from "@base-ui/react/autocomplete";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useState, type ReactNode } from "react";
import { getJson } from "../api/client";
import { signOut } from "../session/session";
import { Icon } from "../common/icons";
import { ActorGlyph, asOutcome, OutcomeMark } from "../common/marks";
import { Modal } from "../common/Modal";
import { setPreferences, usePreferences } from "../common/preferences";
import { exploring } from "../common/terms";
import { counted } from "../common/times";
import { fits, matchWords, placeOf, type Found, type Match } from "./matches";
import { open } from "./open";
import { PLACES } from "./places";
import "./palette.css";
import { visible } from "../common/visible";

interface Item {
  id: string;
  mark: ReactNode;
  name: string;
  detail: string;
  keys?: string;
  run: () => void;
}

interface Group {
  value: string;
  items: Item[];
}

function MatchMark({ match }: { match: Match }) {
  if (match.kind === "event") return <OutcomeMark outcome={asOutcome(match.event.outcome)} />;
  if (match.kind === "actor") return <ActorGlyph type={match.actorType} />;
  return <Icon name={match.kind === "flow" ? "flows" : "resources"} />;
}

function useLater(text: string, ms: number): string {
  const [later, setLater] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setLater(text), ms);
    return () => clearTimeout(timer);
  }, [text, ms]);
  return later;
}

function useFound(text: string) {
  const asked = useLater(text.trim(), 120);
  return useQuery({
    queryKey: ["search", asked],
    queryFn: ({ signal }) => getJson<Found>(`api/v1/search?text=${encodeURIComponent(asked)}`, signal),
    enabled: asked.length >= 2,
    placeholderData: keepPreviousData,
    retry: false,
  });
}

function useCommands(): Item[] {
  const navigate = useNavigate();
  const client = useQueryClient();
  const { theme, density, zone, shortcuts } = usePreferences();
  const command = (name: string, run: () => void, keys?: string): Item => ({
    id: name,
    mark: <Icon name="right" />,
    name,
    detail: "",
    run,
    ...(keys && { keys }),
  });
  return [
    command(zone === "utc" ? "Show local times" : "Show times in UTC", () => setPreferences({ zone: zone === "utc" ? "local" : "utc" }), "u"),
    command("Use the light theme", () => setPreferences({ theme: "light" })),
    command("Use the dark theme", () => setPreferences({ theme: "dark" })),
    ...(theme === "system" ? [] : [command("Follow the theme of the system", () => setPreferences({ theme: "system" }))]),
    command(density === "compact" ? "Use comfortable rows" : "Use compact rows", () =>
      setPreferences({ density: density === "compact" ? "comfortable" : "compact" }),
    ),
    command("Show keyboard shortcuts", () => setTimeout(() => open("shortcuts")), "?"),
    command(shortcuts ? "Switch shortcuts off" : "Switch shortcuts on", () => setPreferences({ shortcuts: !shortcuts })),
    command("Make a webhook", () => void navigate({ to: "/webhooks", search: { new: "1" } })),
    command("Make an alert rule", () => void navigate({ to: "/alerts", search: { new: "1" } })),
    command("Make an API key", () => void navigate({ to: "/settings", search: { tab: "keys", new: "1" } })),
    command("Sign out", () => void signOut(client).then(() => navigate({ to: "/login", search: {} }))),
  ];
}

function useGroups(text: string): { groups: Group[]; searching: boolean; failed: boolean } {
  const navigate = useNavigate();
  const found = useFound(text);
  const commands = useCommands();
  const query = text.trim();
  const places = PLACES.map((place) => ({
    id: place.to,
    mark: <Icon name="right" />,
    name: `Go to ${place.name}`,
    detail: "",
    keys: place.keys,
    run: () => void navigate({ to: place.to as never, search: {} as never }),
  }));
  const matches = (query.length < 2 ? [] : (found.data?.matches ?? [])).map((match): Item => {
    const { name, detail, count } = matchWords(match);
    return {
      id: JSON.stringify(placeOf(match)),
      mark: <MatchMark match={match} />,
      name,
      detail: count === null ? detail : `${detail} · ${counted(count, "event")}`,
      run: () => void navigate(placeOf(match) as never),
    };
  });
  const explore: Item[] = /[:"]/.test(query)
    ? [
        {
          id: "explore",
          mark: <Icon name="explore" />,
          name: query,
          detail: "as a query in Explore",
          run: () => void navigate({ to: "/explore", search: exploring([query]) }),
        },
      ]
    : [];
  const groups = [
    { value: "Found in the log", items: [...explore, ...matches] },
    { value: "Go to", items: places.filter(({ name }) => fits(name, query)) },
    { value: "Do", items: commands.filter(({ name }) => fits(name, query)) },
  ].filter(({ items }) => items.length > 0);
  return { groups, searching: query.length >= 2 && found.isFetching, failed: found.isError && query.length >= 2 };
}

function keyCaps(keys: string): string[] {
  return keys.split(" ");
}

/** Finds any id or name in the log, goes to every screen, and runs commands. */
export function Palette() {
  const [text, setText] = useState("");
  const { groups, searching, failed } = useGroups(text);
  const close = () => open(null);
  return (
    <Modal title="Search or jump to" onClose={close} plain>
      <div
        className="palette"
        onKeyDownCapture={(event) => {
          if (event.key !== "Escape") return;
          event.preventDefault();
          event.stopPropagation();
          close();
        }}
      >
        <Autocomplete.Root items={groups} mode="none" inline open autoHighlight="always" value={text} onValueChange={setText} itemToStringValue={(item: Item) => item.name}>
          <div className="pi">
            <Icon name="search" />
            <Autocomplete.Input aria-label="Search or jump to" placeholder="An id, a name, @position, a screen or a command" autoFocus spellCheck={false} />
            <kbd>Esc</kbd>
          </div>
          <Autocomplete.List className="pl">
            {(group: Group) => (
              <Autocomplete.Group key={group.value} items={group.items}>
                <Autocomplete.GroupLabel className="pg">{group.value}</Autocomplete.GroupLabel>
                <Autocomplete.Collection>
                  {(item: Item) => (
                    <Autocomplete.Item
                      key={item.id}
                      value={item}
                      className="po"
                      onClick={() => {
                        close();
                        item.run();
                      }}
                    >
                      <span className="pm">{item.mark}</span>
                      <span className="cut">{visible(item.name)}</span>
                      <span className="t3 xs cut grow">{item.detail}</span>
                      {item.keys && keyCaps(item.keys).map((cap) => <kbd key={cap}>{cap}</kbd>)}
                    </Autocomplete.Item>
                  )}
                </Autocomplete.Collection>
              </Autocomplete.Group>
            )}
          </Autocomplete.List>
          <p className="ps t3 xs" role="status">
            {failed
              ? "The log could not be searched. Screens and commands are still here."
              : searching
                ? "Searching the log…"
                : groups.length === 0
                  ? "Nothing has this name. Ids may be given by their first characters."
                  : ""}
          </p>
        </Autocomplete.Root>
      </div>
    </Modal>
  );
}
