export function SignInPage() {
  return <div className="body" />;
}
