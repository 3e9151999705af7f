import { useQueryClient } from "@tanstack/react-query";
import { useNavigate, useRouter } from "@tanstack/react-router";
import { useEffect } from "react";
import { ApiError } from "../api/client";
import { SESSION_KEY } from "../session/session";

/** Goes to the sign-in when an answer says that the session has ended; after it one is back at the same address. */
export function useSignInAgain(): void {
  const client = useQueryClient();
  const navigate = useNavigate();
  const router = useRouter();
  useEffect(
    () =>
      client.getQueryCache().subscribe(({ type, query }) => {
        const error = query.state.error;
        if (type !== "updated" || !(error instanceof ApiError) || error.status !== 401) return;
        if (router.state.location.pathname === "/login") return;
        client.setQueryData(SESSION_KEY, null);
        void navigate({ to: "/login", search: { back: router.state.location.href } });
      }),
    [client, navigate, router],
  );
}
