import { Link, Outlet, useLocation } from "@tanstack/react-router";
import { Overlays } from "../palette/Overlays";
import { Icon, Logo, type IconName } from "../common/icons";
import { useSignInAgain } from "../signin/again";
import { useTenantOfOtherTabs } from "../signin/tabs";
import "./frame.css";

interface Place {
  to: string;
  name: string;
  icon: IconName;
  /** Paths that belong to this place too. */
  under: readonly string[];
  onPhone: boolean;
}

const PLACES: readonly Place[] = [
  { to: "/explore", name: "Explore", icon: "explore", under: ["/e/"], onPhone: true },
  { to: "/flows", name: "Flows", icon: "flows", under: ["/trace/", "/map"], onPhone: true },
  { to: "/resources", name: "Resources", icon: "resources", under: ["/r/"], onPhone: true },
  { to: "/actors", name: "Actors", icon: "actors", under: [], onPhone: true },
  { to: "/integrity", name: "Integrity", icon: "integrity", under: [], onPhone: false },
  { to: "/webhooks", name: "Webhooks", icon: "webhooks", under: [], onPhone: false },
  { to: "/alerts", name: "Alerts", icon: "alerts", under: [], onPhone: false },
];

function PlaceLink({ place }: { place: Place }) {
  const { pathname } = useLocation();
  const here = pathname.startsWith(place.to) || place.under.some((path) => pathname.startsWith(path));
  return (
    <Link to={place.to} aria-current={here ? "page" : undefined}>
      <Icon name={place.icon} />
      <span>{place.name}</span>
    </Link>
  );
}

const SETTINGS: Place = { to: "/settings", name: "Settings", icon: "settings", under: [], onPhone: true };

/** The rail at the left, or tabs at the bottom of a phone, around the page. Each page brings its own bar. */
export function Frame() {
  useSignInAgain();
  useTenantOfOtherTabs();
  return (
    <div className="app">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <nav className="rail" aria-label="Main">
        <Link className="logo" to="/explore" aria-label="Whence: explore">
          <Logo />
        </Link>
        {PLACES.map((place) => (
          <PlaceLink key={place.to} place={place} />
        ))}
        <span className="sp" />
        <PlaceLink place={SETTINGS} />
      </nav>
      <main className="page" id="main" tabIndex={-1}>
        <Outlet />
      </main>
      <nav className="ph-tabs" aria-label="Main, on a phone">
        {[...PLACES.filter((place) => place.onPhone), SETTINGS].map((place) => (
          <PlaceLink key={place.to} place={place} />
        ))}
      </nav>
      <Overlays />
    </div>
  );
}
