import { Bar } from "../frame/Bar";

export function ExplorePage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}
