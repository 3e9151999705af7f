// Generated from the server's OpenAPI document by `npm run api-types`. Do not edit.

export interface paths {
    "/api/v1/actors": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listActors"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/actors/{actor_type}/{actor_id}/summary": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["summarizeActor"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/alert-rules": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listAlertRules"];
        put?: never;
        post: operations["createAlertRule"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/alert-rules/{rule_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getAlertRule"];
        put?: never;
        post?: never;
        delete: operations["deleteAlertRule"];
        options?: never;
        head?: never;
        patch: operations["changeAlertRule"];
        trace?: never;
    };
    "/api/v1/alert-rules/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["testAlertRule"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/erasures": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listErasures"];
        put?: never;
        post: operations["createErasure"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/erasures/{erasure_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getErasure"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listEvents"];
        put?: never;
        post: operations["createEvent"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/{event_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getEvent"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/{event_id}/proof": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["proveEvent"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/{event_id}/trace": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["traceEvent"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/aggregate": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["aggregateEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["createEvents"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/correlation/{correlation_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listEventsByCorrelation"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/export": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["exportEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/facets": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["facets"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/feed": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["readFeed"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/histogram": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["eventsByTime"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/reach": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["reachOfEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/resource/{resource_type}/{resource_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listEventsByResource"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/stats/by-actor": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["statsByActor"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/stream": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["streamEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/events/suggest": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["suggestTerms"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/flows": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listFlows"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/flows/map": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["mapFlows"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/followers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listFollowers"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/holds": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listHolds"];
        put?: never;
        post: operations["createHold"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/holds/{hold_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        delete: operations["releaseHold"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/keys": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listKeys"];
        put?: never;
        post: operations["createKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/keys/{key_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        delete: operations["revokeKey"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/log/checkpoint": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["latestCheckpoint"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/log/checkpoints": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listCheckpoints"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/log/consistency": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["logConsistency"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/log/entries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["exportEntries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/log/epochs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["beginEpoch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/log/key": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["logKeys"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/log/tile/{tile}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["logTile"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/references/{reference}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["findEvent"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/resources/{resource_type}/{resource_id}/summary": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["summarizeResource"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/retention": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getRetention"];
        put: operations["setRetention"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/retention/apply": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["applyRetention"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/retention/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["previewRetention"];
        put?: never;
        post: operations["previewRetentionPolicy"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/search": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["search"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/sentences": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getSentences"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/session": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getSession"];
        put?: never;
        post: operations["createSession"];
        delete: operations["endSession"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/session/links": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["createSessionLink"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/session/redeem": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["redeemSessionLink"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/session/tenant": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["chooseSessionTenant"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/session/tenants": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listSessionTenants"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tenants": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listTenants"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tenants/{tenant}/token": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["createTenantToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/views": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listViews"];
        put?: never;
        post: operations["createView"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/views/{view_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        delete: operations["deleteView"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listWebhooks"];
        put?: never;
        post: operations["createWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/{webhook_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getWebhook"];
        put?: never;
        post?: never;
        delete: operations["deleteWebhook"];
        options?: never;
        head?: never;
        patch: operations["changeWebhook"];
        trace?: never;
    };
    "/api/v1/webhooks/{webhook_id}/deliveries": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["listDeliveries"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/{webhook_id}/deliveries/{position}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getDelivery"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/{webhook_id}/deliveries/{position}/resend": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["resendDelivery"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/{webhook_id}/replay": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["replayDeliveries"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/{webhook_id}/secret": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["rotateWebhookSecret"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/webhooks/{webhook_id}/test": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["testWebhook"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/docs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["referencePage"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/livez": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["live"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["metrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["openapiDocument"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["ready"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        ActorActivity: {
            actorId: string;
            actorType: string;
            failures: number;
            firstTimes: components["schemas"]["FirstTime"][];
            lastSeenAt: string | null;
            previous: components["schemas"]["Totals"] | null;
            sparkline: number[];
            successes: number;
            total: number;
        };
        ActorCount: {
            actorId: string;
            actorType: string;
            count: number;
            failures: number;
        };
        ActorFacet: {
            more: number;
            values: components["schemas"]["ActorCount"][];
        };
        ActorName: {
            actorId: string;
            actorType: string;
        };
        Actors: {
            actors: components["schemas"]["ActorActivity"][];
            from: string | null;
            hasNext: boolean;
            to: string | null;
            total: number;
        };
        ActorStat: {
            actorId: string;
            actorType: string;
            failures: number;
            successes: number;
            total: number;
        };
        ActorStats: {
            actors: components["schemas"]["ActorStat"][];
        };
        ActorSummary: {
            actorId: string;
            actorType: string;
            byEventType: components["schemas"]["WordCount"][];
            byResourceType: components["schemas"]["WordCount"][];
            failures: number;
            firstSeenAt: string | null;
            firstTimes: components["schemas"]["FirstTime"][];
            from: string | null;
            lastSeenAt: string | null;
            previous: components["schemas"]["Totals"] | null;
            sparkline: number[];
            successes: number;
            to: string | null;
            total: number;
            triggeredBy: components["schemas"]["Triggers"] | null;
        };
        /** @enum {string} */
        ActorType: "user" | "agent" | "automation" | "service" | "api_key" | "integration" | "system" | "anonymous";
        Alert: {
            /** Format: date-time */
            at: string;
            causationId: string | null;
            count: number;
            eventIds: string[];
            key: {
                [key: string]: string;
            };
            /** @enum {unknown} */
            type: "fired" | "resolved";
        };
        AlertCondition: {
            /** @enum {unknown} */
            kind: "absence" | "count" | "first_seen" | "match";
            per: ("actor" | "correlation" | "eventType" | "resource") | null;
            threshold: number | null;
            windowS: number | null;
        };
        AlertFilters: {
            actorId?: string | string[];
            actorType?: components["schemas"]["ActorType"] | components["schemas"]["ActorType"][];
            causationId?: string | string[];
            correlationId?: string | string[];
            eventType?: string | string[];
            outcome?: ("success" | "failure" | "none") | ("success" | "failure" | "none")[];
            resourceId?: string | string[];
            resourceType?: components["schemas"]["ResourceType"] | components["schemas"]["ResourceType"][];
        };
        AlertRule: {
            /** Format: date-time */
            changedAt: string;
            condition: components["schemas"]["AlertCondition"];
            /** Format: date-time */
            createdAt: string;
            filters: {
                [key: string]: string[];
            };
            id: string;
            keyId: string;
            name: string;
            standsStill: string | null;
        };
        AlertRuleChange: {
            condition?: components["schemas"]["NewAlertCondition"];
            filters?: components["schemas"]["AlertFilters"];
            name?: string;
            /** @default false */
            takeOver: boolean;
        };
        AlertRuleDetail: {
            /** Format: date-time */
            changedAt: string;
            condition: components["schemas"]["AlertCondition"];
            /** Format: date-time */
            createdAt: string;
            droppedKeys: number | null;
            filters: {
                [key: string]: string[];
            };
            firing: components["schemas"]["Firing"][] | null;
            firingTotal: number | null;
            id: string;
            keyId: string;
            missedBefore: number | string | null;
            name: string;
            readTo: number | string | null;
            refusedAlerts: number | null;
            standsStill: string | null;
        };
        AlertRules: {
            rules: components["schemas"]["AlertRule"][];
        };
        AlertTest: {
            continuation?: string | null;
            over: string;
            rule?: {
                condition: components["schemas"]["NewAlertCondition"];
                filters?: components["schemas"]["AlertFilters"];
                name?: string;
            };
            /** Format: uuid */
            ruleId?: string;
        } & (unknown | unknown);
        AlertTestResult: {
            alerts: components["schemas"]["Alert"][];
            continuation: string | null;
            droppedKeys: number;
        };
        Attempt: {
            answer: string;
            durationMs: number;
            error: string;
            number: number;
            /** Format: date-time */
            startedAt: string;
            status: number | null;
        };
        BatchResult: {
            code?: string;
            detail?: components["schemas"]["ValidationError"][] | string;
            id: string | null;
            index: number;
            position?: number | null;
            redacted?: string[];
            status: number;
        };
        BatchResults: {
            results: components["schemas"]["BatchResult"][];
        };
        Checkpoint: {
            epoch: number;
            note: string;
            origin: string;
            root: string;
            /** Format: date-time */
            signedAt: string;
            size: number;
        };
        Checkpoints: {
            checkpoints: components["schemas"]["Checkpoint"][];
        };
        ChosenTenant: {
            tenantId: string;
        };
        CloudEvent: ({
            authid?: string | null;
            /** @enum {unknown} */
            authtype: "app_user" | "service_account" | "unauthenticated" | "unknown" | "user" | "agent" | "automation" | "service" | "api_key" | "integration" | "system" | "anonymous";
            causationid?: string | null;
            correlationid?: string | null;
            data?: Record<string, never>;
            data_base64?: never;
            id: string;
            source: string;
            /** @constant */
            specversion: "1.0";
            subject: string;
            /** Format: date-time */
            time: string;
            type: string;
        } & {
            [key: string]: (string | boolean | null) | number;
        }) | {
            authid: string;
        } | {
            /** @enum {unknown} */
            authtype?: "unauthenticated" | "unknown";
        };
        Consistency: {
            from: number;
            hashes: string[];
            to: number;
        };
        CreatedKey: {
            createdAt: string;
            expiresAt: string | null;
            id: string;
            key: string;
            lastUsedAt: string | null;
            name: string;
            revokedAt: string | null;
            scopes: string[];
            tenantId: string;
        };
        CreatedWebhook: {
            /** Format: date-time */
            createdAt: string;
            description: string;
            disabledAt: string | null;
            disabledReason: string | null;
            enabled: boolean;
            fifo: boolean;
            filters: {
                [key: string]: string[];
            };
            /** @enum {unknown} */
            format: "cloudevents" | "slack" | "whence";
            id: string;
            keyId: string;
            oldSecretValidUntil: string | null;
            secret: string;
            standsStill: string | null;
            url: string;
        };
        CurrentSession: {
            /** @enum {unknown} */
            carrier: "cookie" | "header";
            expiresAt: string | null;
            keyName: string | null;
            scopes: string[];
            tenantId: string;
        };
        Deliveries: {
            deliveries: components["schemas"]["Delivery"][];
            nextAfter: number | string | null;
        };
        Delivery: {
            attempts: number;
            /** Format: date-time */
            changedAt: string;
            dueAt: string | null;
            position: number | string;
            /** @enum {unknown} */
            state: "delivered" | "failed" | "pending";
        };
        DeliveryCounts: {
            delivered: number;
            failed: number;
            pending: number;
        };
        DeliveryDetail: {
            attempts: number;
            /** Format: date-time */
            changedAt: string;
            dueAt: string | null;
            eventId: string | null;
            history: components["schemas"]["Attempt"][];
            position: number | string;
            /** @enum {unknown} */
            state: "delivered" | "failed" | "pending";
        };
        Epoch: {
            ended: string;
            epoch: number;
            reason: string;
            /** Format: date-time */
            requestedAt: string;
        };
        ErasurePreview: {
            exact: boolean;
            held: number;
            payloads: number;
        };
        Error: {
            code: string;
            detail: string;
            requestId: string;
        };
        Event: {
            actorId: string;
            actorType: components["schemas"]["ActorType"];
            causationId: string | null;
            correlationId: string;
            erasedAt?: string | null;
            eventType: string;
            id: string;
            /** Format: date-time */
            occurredAt: string;
            outcome?: string;
            payload: {
                [key: string]: unknown;
            } | null;
            position?: number | null;
            /** Format: date-time */
            recordedAt?: string;
            resourceId: string;
            resourceType: components["schemas"]["ResourceType"];
            tenantId: string;
        };
        EventAggregate: {
            byActorType: components["schemas"]["KeyCount"][];
            byEventType: components["schemas"]["KeyCount"][];
            byResourceType: components["schemas"]["KeyCount"][];
            total: number;
        };
        EventPage: {
            events: components["schemas"]["Event"][];
            hasNext: boolean;
            limit: number;
            nextCursor?: string | null;
            offset: number;
            total: number;
        };
        Facets: {
            facets: components["schemas"]["FieldFacets"];
            total: number;
        };
        Feed: {
            events: components["schemas"]["Event"][];
            hasMore: boolean;
            nextAfter: number | string;
        };
        FieldFacets: {
            actor: components["schemas"]["ActorFacet"];
            actorType: components["schemas"]["WordFacet"];
            eventType: components["schemas"]["TypeFacet"];
            outcome: components["schemas"]["WordFacet"];
            payload?: components["schemas"]["PayloadFacet"][];
            resourceType: components["schemas"]["WordFacet"];
        };
        Firing: {
            alertId: string;
            key: {
                [key: string]: string;
            };
        };
        FirstTime: {
            /** Format: date-time */
            at: string;
            eventId: string;
            eventType: string;
        };
        Flow: {
            actors: number;
            atLeast: boolean;
            correlationId: string;
            durationUs: number;
            events: number;
            failures: number;
            /** Format: date-time */
            firstAt: string;
            /** Format: date-time */
            lastAt: string;
            root: components["schemas"]["FlowRoot"];
        };
        FlowPage: {
            flows: components["schemas"]["Flow"][];
            hasNext: boolean;
            limit: number;
            offset: number;
            total: number;
        };
        FlowRoot: {
            actorId: string;
            actorType: string;
            eventType: string;
            id: string;
            /** Format: date-time */
            occurredAt: string;
            outcome: string;
            resourceId: string;
            resourceType: string;
        };
        Follower: {
            lag: number;
            name: string;
            position: number;
        };
        Followers: {
            followers: components["schemas"]["Follower"][];
            size: number;
        };
        Gap: {
            after: number | string;
            /** Format: date-time */
            at: string;
            resumedAfter: number | string;
        };
        Histogram: {
            buckets: components["schemas"]["HistogramBucket"][];
            by: string;
            from: string | null;
            interval: string | null;
            intervalS: number | null;
            keys: components["schemas"]["KeyCount"][];
            to: string | null;
            total: number;
        };
        HistogramBucket: {
            counts: number[];
            /** Format: date-time */
            start: string;
            total: number;
        };
        Hold: {
            by: components["schemas"]["ActorName"];
            /** Format: date-time */
            createdAt: string;
            id: string;
            q: string;
            reason: string;
        };
        Holds: {
            holds: components["schemas"]["Hold"][];
        };
        HTTPValidationError: {
            detail: components["schemas"]["ValidationError"][];
        };
        Key: {
            createdAt: string;
            expiresAt: string | null;
            id: string;
            lastUsedAt: string | null;
            name: string;
            revokedAt: string | null;
            scopes: string[];
            tenantId: string;
        };
        KeyCount: {
            count: number;
            key: string;
        };
        Keys: {
            keys: components["schemas"]["Key"][];
        };
        LogKey: {
            epoch: number;
            key: string;
            mlDsaKey: string | null;
            origin: string;
        };
        LogKeys: {
            keys: components["schemas"]["LogKey"][];
        };
        Match: {
            actorId?: string;
            actorType?: string;
            correlationId?: string;
            event?: components["schemas"]["Event"];
            events?: number;
            id?: string;
            /** @enum {unknown} */
            kind: "actor" | "event" | "flow" | "resource";
            resourceId?: string;
            resourceType?: string;
        };
        NewAlertCondition: {
            /** @constant */
            kind: "match";
            per?: null;
            threshold?: null;
            windowS?: null;
        } | {
            /** @constant */
            kind: "count";
            per?: ("actor" | "resource" | "correlation" | "eventType") | null;
            threshold: number;
            windowS: number;
        } | {
            /** @constant */
            kind: "first_seen";
            /** @enum {string} */
            per: "actor" | "resource" | "eventType";
            threshold?: null;
            windowS?: null;
        } | {
            /** @constant */
            kind: "absence";
            per?: null;
            threshold?: null;
            windowS: number;
        };
        NewAlertRule: {
            condition: components["schemas"]["NewAlertCondition"];
            filters?: components["schemas"]["AlertFilters"];
            name: string;
        };
        NewEpoch: {
            /** @enum {string} */
            reason: "restored" | "rotated" | "compromised";
        };
        NewErasure: {
            /** @default false */
            dryRun: boolean;
            eventIds?: string[];
            /** @default false */
            names: boolean;
            q?: string;
            reason: string;
        } & (unknown | unknown);
        NewEvent: {
            actorId: string;
            actorType: components["schemas"]["ActorType"];
            causationId?: string | null;
            correlationId?: string | null;
            eventType: string;
            id?: string | null;
            /** Format: date-time */
            occurredAt: string;
            outcome?: ("success" | "failure" | "none") | null;
            payload?: {
                [key: string]: unknown;
            };
            /** Format: uuid */
            resourceId: string;
            resourceType: components["schemas"]["ResourceType"];
            tenantId?: string;
        };
        NewHold: {
            q: string;
            reason: string;
        };
        NewKey: {
            expiresAt?: string | null;
            name?: string;
            scopes: ("admin" | "events:read" | "events:read:action_run" | "events:read:agent_spec" | "events:read:artifact" | "events:read:automation" | "events:read:automation_run" | "events:read:chat_thread" | "events:read:connection" | "events:read:decision" | "events:read:flashboard" | "events:read:inbound_message" | "events:read:template" | "events:write")[];
        };
        NewReplay: {
            after?: number | string;
            since?: string;
            /**
             * @default failed
             * @enum {string}
             */
            state: "failed" | "all";
        } & (unknown | unknown);
        NewTenantToken: {
            /** @default 900 */
            lifetimeS: number;
            scopes: ("admin" | "events:read" | "events:read:action_run" | "events:read:agent_spec" | "events:read:artifact" | "events:read:automation" | "events:read:automation_run" | "events:read:chat_thread" | "events:read:connection" | "events:read:decision" | "events:read:flashboard" | "events:read:inbound_message" | "events:read:template" | "events:write")[];
        };
        NewView: {
            address: string;
            name: string;
        };
        NewWebhook: {
            description?: string;
            /** @default true */
            enabled: boolean;
            /** @default false */
            fifo: boolean;
            filters?: {
                actorId?: string | string[];
                actorType?: components["schemas"]["ActorType"] | components["schemas"]["ActorType"][];
                causationId?: string | string[];
                correlationId?: string | string[];
                eventType?: string | string[];
                outcome?: ("success" | "failure" | "none") | ("success" | "failure" | "none")[];
                resourceId?: string | string[];
                resourceType?: components["schemas"]["ResourceType"] | components["schemas"]["ResourceType"][];
            };
            /**
             * @default whence
             * @enum {string}
             */
            format: "whence" | "cloudevents" | "slack";
            url: string;
        };
        PayloadFacet: {
            more: number;
            path: string;
            values: components["schemas"]["WordCount"][];
        };
        PositionGone: {
            code: string;
            detail: string;
            requestId: string;
            resumeAfter: number | string;
        };
        ProcessMap: {
            delayError: number;
            from: string | null;
            links: number;
            pairs: components["schemas"]["ProcessMapPair"][];
            to: string | null;
        };
        ProcessMapPair: {
            causeType: string;
            effectType: string;
            events: number;
            failures: number;
            p50Us: number | null;
            p95Us: number | null;
            share: number;
            skewed: number;
        };
        Reach: {
            atLeast: boolean;
            causes: number;
            effects: number;
            failedEffects: number;
            id: string;
        };
        Reaches: {
            reach: components["schemas"]["Reach"][];
        };
        Reference: {
            id: string;
        };
        Removal: {
            by: components["schemas"]["ActorName"];
            /** Format: date-time */
            createdAt: string;
            events: number;
            finishedAt: string | null;
            held: number;
            id: string;
            /** @enum {unknown} */
            kind: "erasure" | "retention";
            payloads: number;
            pseudonym: string | null;
            reason: string;
            renamedEvents: number | null;
            sealed: boolean | null;
            /** @enum {unknown} */
            state: "announced" | "cleaning" | "done" | "removing" | "requested";
            waitsFor: string | null;
        };
        Removals: {
            erasures: components["schemas"]["Removal"][];
        };
        Replay: {
            after: number | string;
            nextAfter: number | string | null;
        };
        ResourceActor: {
            actorId: string;
            actorType: string;
            count: number;
            failures: number;
            /** Format: date-time */
            lastAt: string;
        };
        ResourceSummary: {
            actors: components["schemas"]["ResourceActor"][];
            byEventType: components["schemas"]["WordCount"][];
            events: number;
            failures: number;
            firstAt: string | null;
            flows: number;
            lastAt: string | null;
            lastEvent: components["schemas"]["Event"] | null;
            moreActors: number;
            resourceId: string;
            resourceType: string;
        };
        /** @enum {string} */
        ResourceType: "action_run" | "agent_spec" | "artifact" | "automation" | "automation_run" | "chat_thread" | "connection" | "decision" | "flashboard" | "inbound_message" | "template";
        Retention: {
            maxAgeDays: number | null;
            rules: components["schemas"]["TypeRule"][];
            runs: components["schemas"]["Removal"][];
            /** @enum {unknown} */
            source: "none" | "server" | "tenant";
        };
        RetentionPolicy: {
            maxAgeDays: number | null;
            /** @default [] */
            rules: {
                eventType: string;
                maxAgeDays: number;
            }[];
        };
        RetentionPreview: {
            events: number;
            exact: boolean;
            held: number;
            newest: string | null;
            oldest: string | null;
            payloads: number;
        };
        Search: {
            matches: components["schemas"]["Match"][];
        };
        SentenceGrammar: {
            arguments: string[];
            errors: string[];
            hidden: string[];
            kinds: string[];
            objects: string[];
            past: string[];
            quotes: string[];
            results: string[];
            without_object: string[];
        };
        Sentences: {
            detail_texts: {
                [key: string]: string[];
            };
            grammar: components["schemas"]["SentenceGrammar"];
            object_texts: {
                [key: string]: string[];
            };
            unquoted: {
                [key: string]: string;
            };
            unquoted_objects: {
                [key: string]: string;
            };
            verbs: {
                [key: string]: string;
            };
        };
        Session: {
            expiresAt: string;
            scopes: string[];
            tenantId: string;
        };
        SessionLink: {
            code: string;
            expiresAt: string;
        };
        SessionTenant: {
            tenantId: string;
        };
        SessionTenants: {
            anyTenant: boolean;
            tenants: components["schemas"]["SessionTenant"][];
        };
        SignInCode: {
            code: string;
        };
        StoredEvent: {
            actorId: string;
            actorType: components["schemas"]["ActorType"];
            causationId: string | null;
            correlationId: string | null;
            erasedAt?: string | null;
            eventType: string;
            id: string;
            /** Format: date-time */
            occurredAt: string;
            outcome?: string;
            payload: {
                [key: string]: unknown;
            } | null;
            position?: number | null;
            /** Format: date-time */
            recordedAt?: string;
            resourceId: string;
            resourceType: components["schemas"]["ResourceType"];
            tenantId: string;
        };
        Suggestion: {
            count: number | null;
            end: number;
            insert: string;
            /** @enum {unknown} */
            kind: "actor" | "event_type" | "name" | "outcome" | "payload_value" | "resource_type" | "time";
            label: string;
            start: number;
        };
        Suggestions: {
            suggestions: components["schemas"]["Suggestion"][];
        };
        Tenant: {
            events: number;
            payloadBytes: number;
            recordedAt: string | null;
            tenantId: string;
        };
        Tenants: {
            bytesMax: number | null;
            eventsPerS: number | null;
            tenants: components["schemas"]["Tenant"][];
        };
        TenantToken: {
            expiresAt: string;
            scopes: string[];
            tenantId: string;
            token: string;
        };
        Totals: {
            failures: number;
            successes: number;
            total: number;
        };
        Trace: {
            atLeast: boolean;
            eventId: string;
            missing: string[];
            nodes: components["schemas"]["TraceNode"][];
            rootId: string;
            rootKnown: boolean;
            summary: components["schemas"]["TraceSummary"];
            truncated: boolean;
        };
        TraceNode: {
            actorId: string;
            actorType: string;
            allEffects: number;
            causationId: string | null;
            correlationId: string;
            cycle: boolean;
            detail?: string;
            effects: number;
            eventType: string;
            failuresBelow: number;
            hops: number;
            id: string;
            label?: string;
            /** Format: date-time */
            occurredAt: string;
            otherFlow: boolean;
            outcome: string;
            pairedEndId?: string | null;
            position: number | null;
            resourceId: string;
            resourceType: string;
            sinceCauseUs: number | null;
            sinceRootUs: number;
            skewed: boolean;
            verb?: string;
        };
        TraceSummary: {
            actors: number;
            durationUs: number;
            events: number;
            failures: number;
            hops: number;
            resources: number;
        };
        Trigger: {
            actorId: string;
            actorType: string;
            count: number;
        };
        Triggers: {
            actors: components["schemas"]["Trigger"][];
            events: number;
            missing: number;
            moreActors: number;
            roots: number;
        };
        TypeCount: {
            children: components["schemas"]["TypeCount"][];
            count: number;
            failures: number;
            value: string;
        };
        TypeFacet: {
            more: number;
            values: components["schemas"]["TypeCount"][];
        };
        TypeRule: {
            eventType: string;
            maxAgeDays: number;
        };
        ValidationError: {
            loc: (string | number)[];
            msg: string;
            type: string;
        };
        View: {
            address: string;
            /** Format: date-time */
            createdAt: string;
            createdBy: string;
            id: string;
            name: string;
        };
        Views: {
            views: components["schemas"]["View"][];
        };
        Webhook: {
            /** Format: date-time */
            createdAt: string;
            description: string;
            disabledAt: string | null;
            disabledReason: string | null;
            enabled: boolean;
            fifo: boolean;
            filters: {
                [key: string]: string[];
            };
            /** @enum {unknown} */
            format: "cloudevents" | "slack" | "whence";
            id: string;
            keyId: string;
            oldSecretValidUntil: string | null;
            standsStill: string | null;
            url: string;
        };
        WebhookChange: {
            description?: string;
            /** @default true */
            enabled: boolean;
            /** @default false */
            fifo: boolean;
            filters?: {
                actorId?: string | string[];
                actorType?: components["schemas"]["ActorType"] | components["schemas"]["ActorType"][];
                causationId?: string | string[];
                correlationId?: string | string[];
                eventType?: string | string[];
                outcome?: ("success" | "failure" | "none") | ("success" | "failure" | "none")[];
                resourceId?: string | string[];
                resourceType?: components["schemas"]["ResourceType"] | components["schemas"]["ResourceType"][];
            };
            /**
             * @default whence
             * @enum {string}
             */
            format: "whence" | "cloudevents" | "slack";
            takeOver?: boolean;
            url?: string;
        };
        WebhookDetail: {
            /** Format: date-time */
            createdAt: string;
            deliveries: components["schemas"]["DeliveryCounts"] | null;
            description: string;
            disabledAt: string | null;
            disabledReason: string | null;
            enabled: boolean;
            failingSince: string | null;
            fifo: boolean;
            filters: {
                [key: string]: string[];
            };
            /** @enum {unknown} */
            format: "cloudevents" | "slack" | "whence";
            gaps: components["schemas"]["Gap"][] | null;
            id: string;
            keyId: string;
            oldSecretValidUntil: string | null;
            readTo: number | string | null;
            standsStill: string | null;
            url: string;
        };
        Webhooks: {
            webhooks: components["schemas"]["Webhook"][];
        };
        WebhookSecret: {
            id: string;
            oldSecretValidUntil: string | null;
            secret: string;
        };
        WordCount: {
            count: number;
            failures: number;
            value: string;
        };
        WordFacet: {
            more: number;
            values: components["schemas"]["WordCount"][];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    listActors: {
        parameters: {
            query?: {
                cursor?: string | null;
                from?: string | null;
                limit?: number;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Actors"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    summarizeActor: {
        parameters: {
            query?: {
                from?: string | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                actor_id: string;
                actor_type: components["schemas"]["ActorType"];
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ActorSummary"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listAlertRules: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AlertRules"];
                };
            };
        };
    };
    createAlertRule: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewAlertRule"];
            };
        };
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AlertRule"];
                };
            };
        };
    };
    getAlertRule: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                rule_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AlertRuleDetail"];
                };
            };
        };
    };
    deleteAlertRule: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                rule_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    changeAlertRule: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                rule_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["AlertRuleChange"];
            };
        };
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AlertRule"];
                };
            };
        };
    };
    testAlertRule: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["AlertTest"];
            };
        };
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["AlertTestResult"];
                };
            };
        };
    };
    listErasures: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Removals"];
                };
            };
        };
    };
    createErasure: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewErasure"];
            };
        };
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErasurePreview"];
                };
            };
            202: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Removal"];
                };
            };
        };
    };
    getErasure: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                erasure_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Removal"];
                };
            };
        };
    };
    listEvents: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                as_of?: number | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                cursor?: string | null;
                event_type?: string | null;
                from?: string | null;
                include?: string | null;
                limit?: number;
                offset?: number;
                order?: "asc" | "desc";
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["EventPage"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    createEvent: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "Idempotency-Key"?: string;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/cloudevents-batch+json": components["schemas"]["CloudEvent"][];
                "application/cloudevents+json": components["schemas"]["CloudEvent"];
                "application/json": components["schemas"]["NewEvent"];
            };
        };
        responses: {
            200: {
                headers: {
                    "Idempotent-Replayed"?: "true";
                    Location?: string;
                    "Whence-Redacted"?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["StoredEvent"] | components["schemas"]["BatchResults"];
                };
            };
            201: {
                headers: {
                    Location?: string;
                    "Whence-Redacted"?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["StoredEvent"] | components["schemas"]["BatchResults"];
                };
            };
            207: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchResults"];
                };
            };
        };
    };
    getEvent: {
        parameters: {
            query?: {
                include?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                event_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Event"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    proveEvent: {
        parameters: {
            query?: {
                cosigned?: boolean;
                epoch?: number | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                event_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "text/plain; charset=utf-8": string;
                };
            };
        };
    };
    traceEvent: {
        parameters: {
            query?: {
                depth?: number | null;
                direction?: "both" | "up" | "down";
                include?: "rows" | null;
                limit?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                event_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Trace"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    aggregateEvents: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                event_type?: string | null;
                from?: string | null;
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["EventAggregate"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    createEvents: {
        parameters: {
            query?: {
                atomic?: boolean;
            };
            header?: {
                authorization?: string | null;
                "Idempotency-Key"?: string;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/cloudevents-batch+json": components["schemas"]["CloudEvent"][];
                "application/cloudevents+json": components["schemas"]["CloudEvent"];
                "application/json": components["schemas"]["NewEvent"][];
                "application/jsonlines": string;
                "application/x-ndjson": string;
            };
        };
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchResults"];
                };
            };
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchResults"];
                };
            };
            207: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchResults"];
                };
            };
        };
    };
    listEventsByCorrelation: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                as_of?: number | null;
                causation_id?: string | null;
                cursor?: string | null;
                event_type?: string | null;
                from?: string | null;
                include?: string | null;
                limit?: number;
                offset?: number;
                order?: "asc" | "desc";
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                correlation_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["EventPage"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    exportEvents: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                event_type?: string | null;
                format?: "ndjson" | "csv";
                from?: string | null;
                include?: string | null;
                order?: "asc" | "desc";
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/x-ndjson": string;
                    "text/csv": string;
                };
            };
        };
    };
    facets: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                event_type?: string | null;
                from?: string | null;
                outcome?: ("success" | "failure" | "none") | null;
                payload_field?: string | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
                top?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Facets"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    readFeed: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                after?: string | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                event_type?: string | null;
                from?: string;
                include?: string | null;
                limit?: number;
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                wait?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Feed"];
                };
            };
        };
    };
    eventsByTime: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                by?: "outcome" | "event_type";
                causation_id?: string | null;
                correlation_id?: string | null;
                event_type?: string | null;
                from?: string | null;
                interval?: ("1s" | "2s" | "5s" | "10s" | "20s" | "30s" | "1m" | "2m" | "5m" | "10m" | "20m" | "30m" | "1h" | "2h" | "3h" | "6h" | "12h" | "1d" | "2d" | "7d" | "14d" | "28d" | "91d" | "182d" | "364d" | "728d" | "1820d" | "3640d" | "7280d" | "18200d" | "36400d") | null;
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
                top?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Histogram"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    reachOfEvents: {
        parameters: {
            query: {
                id: string;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Reaches"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listEventsByResource: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                as_of?: number | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                cursor?: string | null;
                event_type?: string | null;
                from?: string | null;
                include?: string | null;
                limit?: number;
                offset?: number;
                order?: "asc" | "desc";
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                resource_id: string;
                resource_type: components["schemas"]["ResourceType"];
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["EventPage"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    statsByActor: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                event_type?: string | null;
                from?: string | null;
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ActorStats"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    streamEvents: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                after?: string | null;
                causation_id?: string | null;
                correlation_id?: string | null;
                event_type?: string | null;
                from?: string;
                include?: string | null;
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
            };
            header?: {
                authorization?: string | null;
                "Last-Event-ID"?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
        };
    };
    suggestTerms: {
        parameters: {
            query?: {
                cursor?: number | null;
                limit?: number;
                q?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Suggestions"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listFlows: {
        parameters: {
            query?: {
                cursor?: string | null;
                from?: string | null;
                limit?: number;
                offset?: number;
                outcome?: "failure" | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FlowPage"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    mapFlows: {
        parameters: {
            query?: {
                from?: string | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ProcessMap"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listFollowers: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Followers"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listHolds: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Holds"];
                };
            };
        };
    };
    createHold: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewHold"];
            };
        };
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Hold"];
                };
            };
        };
    };
    releaseHold: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                hold_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listKeys: {
        parameters: {
            query?: {
                cursor?: string | null;
                limit?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Keys"];
                };
            };
        };
    };
    createKey: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewKey"];
            };
        };
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CreatedKey"];
                };
            };
        };
    };
    revokeKey: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                key_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    latestCheckpoint: {
        parameters: {
            query?: {
                cosigned?: boolean;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "text/plain; charset=utf-8": string;
                };
            };
        };
    };
    listCheckpoints: {
        parameters: {
            query?: {
                before?: number | null;
                limit?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Checkpoints"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    logConsistency: {
        parameters: {
            query?: {
                from?: number;
                to?: number | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Consistency"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    exportEntries: {
        parameters: {
            query?: {
                actor_id?: string | null;
                actor_type?: components["schemas"]["ActorType"] | null;
                as_of?: number | null;
                causation_id?: string | null;
                complete?: boolean;
                correlation_id?: string | null;
                event_type?: string | null;
                from?: string | null;
                outcome?: ("success" | "failure" | "none") | null;
                "payload.{path}"?: string | null;
                q?: string | null;
                resource_id?: string | null;
                resource_type?: components["schemas"]["ResourceType"] | null;
                to?: string | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/x-ndjson": string;
                };
            };
        };
    };
    beginEpoch: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewEpoch"];
            };
        };
        responses: {
            202: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Epoch"];
                };
            };
        };
    };
    logKeys: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["LogKeys"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    logTile: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                tile: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": string;
                };
            };
        };
    };
    findEvent: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                reference: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Reference"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    summarizeResource: {
        parameters: {
            query?: {
                top?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                resource_id: string;
                resource_type: components["schemas"]["ResourceType"];
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ResourceSummary"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    getRetention: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Retention"];
                };
            };
        };
    };
    setRetention: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["RetentionPolicy"];
            };
        };
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Retention"];
                };
            };
        };
    };
    applyRetention: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            202: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Removal"];
                };
            };
        };
    };
    previewRetention: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RetentionPreview"];
                };
            };
        };
    };
    previewRetentionPolicy: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["RetentionPolicy"];
            };
        };
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["RetentionPreview"];
                };
            };
        };
    };
    search: {
        parameters: {
            query: {
                text: string;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Search"];
                };
            };
            304: {
                headers: {
                    ETag?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    getSentences: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Sentences"];
                };
            };
            304: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    getSession: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CurrentSession"];
                };
            };
        };
    };
    createSession: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            201: {
                headers: {
                    "Set-Cookie"?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Session"];
                };
            };
        };
    };
    endSession: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    "Set-Cookie"?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    createSessionLink: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SessionLink"];
                };
            };
        };
    };
    redeemSessionLink: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SignInCode"];
            };
        };
        responses: {
            201: {
                headers: {
                    "Set-Cookie"?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Session"];
                };
            };
        };
    };
    chooseSessionTenant: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ChosenTenant"];
            };
        };
        responses: {
            201: {
                headers: {
                    "Set-Cookie"?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Session"];
                };
            };
        };
    };
    listSessionTenants: {
        parameters: {
            query?: {
                cursor?: string | null;
                limit?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SessionTenants"];
                };
            };
        };
    };
    listTenants: {
        parameters: {
            query?: {
                cursor?: string | null;
                limit?: number;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    Link?: string;
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Tenants"];
                };
            };
        };
    };
    createTenantToken: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                tenant: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewTenantToken"];
            };
        };
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TenantToken"];
                };
            };
        };
    };
    listViews: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Views"];
                };
            };
        };
    };
    createView: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewView"];
            };
        };
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["View"];
                };
            };
        };
    };
    deleteView: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                view_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    listWebhooks: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Webhooks"];
                };
            };
        };
    };
    createWebhook: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewWebhook"];
            };
        };
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CreatedWebhook"];
                };
            };
        };
    };
    getWebhook: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["WebhookDetail"];
                };
            };
        };
    };
    deleteWebhook: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    changeWebhook: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["WebhookChange"];
            };
        };
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Webhook"];
                };
            };
        };
    };
    listDeliveries: {
        parameters: {
            query?: {
                after?: string | null;
                limit?: number;
                state?: ("pending" | "delivered" | "failed") | null;
            };
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Deliveries"];
                };
            };
        };
    };
    getDelivery: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                position: string;
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeliveryDetail"];
                };
            };
        };
    };
    resendDelivery: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                position: string;
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            202: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Delivery"];
                };
            };
        };
    };
    replayDeliveries: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewReplay"];
            };
        };
        responses: {
            202: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Replay"];
                };
            };
        };
    };
    rotateWebhookSecret: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            201: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["WebhookSecret"];
                };
            };
        };
    };
    testWebhook: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path: {
                webhook_id: string;
            };
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Attempt"];
                };
            };
        };
    };
    referencePage: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
        };
    };
    live: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @constant */
                        status: "ok";
                    };
                };
            };
        };
    };
    metrics: {
        parameters: {
            query?: never;
            header?: {
                authorization?: string | null;
                "X-API-Key"?: string | null;
            };
            path?: never;
            cookie?: {
                vai_token?: string | null;
            };
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "text/plain": string;
                };
            };
        };
    };
    openapiDocument: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
        };
    };
    ready: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @constant */
                        status: "ok";
                    };
                };
            };
        };
    };
}
