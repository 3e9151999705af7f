import { Bar } from "../frame/Bar";

export function SettingsPage() {
  return (
    <>
      <Bar />
      <div className="body" />
    </>
  );
}
