import { Bar } from "../frame/Bar";

export function ActorPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}
