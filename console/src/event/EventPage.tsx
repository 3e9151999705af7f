import { Bar } from "../frame/Bar";

export function EventPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}
