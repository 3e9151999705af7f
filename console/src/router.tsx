import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { ROOT } from "./api/client";
import { Frame } from "./frame/Frame";
import { prefetch } from "./prefetch";
import { readSession, SESSION_KEY } from "./session/session";
import type { Search } from "./common/search";
import { ErrorState } from "./common/states";

const root = createRootRouteWithContext<{ client: QueryClient }>()({
  component: Outlet,
  validateSearch: (search): Search => search as Search,
  errorComponent: ({ error, reset }) => <ErrorState error={error} retry={reset} />,
});

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  component: lazyRouteComponent(() => import("./signin/SignInPage"), "SignInPage"),
});

/** Everything but the sign-in needs a session; who has none signs in and comes back. */
const frame = createRoute({
  getParentRoute: () => root,
  id: "frame",
  component: Frame,
  beforeLoad: async ({ context, location, matches }) => {
    if (context.client.getQueryData(SESSION_KEY) === undefined) {
      for (const { routeId } of matches) void components.get(routeId)?.preload?.();
      prefetch(context.client, location.pathname, location.search);
    }
    const session = await context.client.ensureQueryData({ queryKey: SESSION_KEY, queryFn: readSession });
    if (session === null) throw redirect({ to: "/login", search: { back: location.href } });
  },
});

const home = createRoute({
  getParentRoute: () => frame,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/explore", search: {} });
  },
});

/** The components of pages, by the ids of their routes. */
const components = new Map<string, ReturnType<typeof lazyRouteComponent>>();

function page<const Path extends string>(path: Path, component: ReturnType<typeof lazyRouteComponent>) {
  components.set(`/frame${path}`, component);
  return createRoute({ getParentRoute: () => frame, path, component });
}

const pages = [
  page("/explore", lazyRouteComponent(() => import("./explore/ExplorePage"), "ExplorePage")),
  page("/e/$eventId", lazyRouteComponent(() => import("./event/EventPage"), "EventPage")),
  page("/trace/$eventId", lazyRouteComponent(() => import("./trace/TracePage"), "TracePage")),
  page("/flows", lazyRouteComponent(() => import("./flows/FlowsPage"), "FlowsPage")),
  page("/flows/$flowId", lazyRouteComponent(() => import("./trace/FlowPage"), "FlowPage")),
  page("/map", lazyRouteComponent(() => import("./map/MapPage"), "MapPage")),
  page("/resources", lazyRouteComponent(() => import("./resources/ResourcesPage"), "ResourcesPage")),
  page("/r/$resourceType/$resourceId", lazyRouteComponent(() => import("./resources/ResourcePage"), "ResourcePage")),
  page("/actors", lazyRouteComponent(() => import("./actors/ActorsPage"), "ActorsPage")),
  page("/actors/$actorType/$actorId", lazyRouteComponent(() => import("./actors/ActorPage"), "ActorPage")),
  page("/integrity", lazyRouteComponent(() => import("./operations/IntegrityPage"), "IntegrityPage")),
  page("/webhooks", lazyRouteComponent(() => import("./webhooks/WebhooksPage"), "WebhooksPage")),
  page("/webhooks/$webhookId", lazyRouteComponent(() => import("./webhooks/WebhookPage"), "WebhookPage")),
  page("/alerts", lazyRouteComponent(() => import("./alerts/AlertsPage"), "AlertsPage")),
  page("/alerts/$ruleId", lazyRouteComponent(() => import("./alerts/AlertPage"), "AlertPage")),
  page("/settings", lazyRouteComponent(() => import("./settings/SettingsPage"), "SettingsPage")),
];

export function newRouter(client: QueryClient) {
  return createRouter({
    routeTree: root.addChildren([login, frame.addChildren([home, ...pages])]),
    context: { client },
    basepath: ROOT,
    parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
    stringifySearch: (search) => {
      const pairs = Object.entries(search).filter((pair): pair is [string, string] => typeof pair[1] === "string");
      const text = new URLSearchParams(pairs).toString();
      return text === "" ? "" : `?${text}`;
    },
    defaultPreload: false,
    scrollRestoration: false,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof newRouter>;
  }
}
