/** Who is told of what. Everything secret is a key of one Secret, which Alertmanager reads as files. */
export interface Alerting {
  /** @default - nobody in Slack */
  readonly slack?:
    | {
        /** Channel with its hash, for example "#dagster-alerts". */
        readonly channel: string;
      }
    | undefined;
  /** @default - no e-mail */
  readonly email?:
    | {
        readonly to: string;
        readonly from: string;
        /** Host and port of the SMTP server; TLS is required. */
        readonly smarthost: string;
        readonly username: string;
      }
    | undefined;
  /**
   * Calls out whoever is on duty, for critical alerts only.
   * @default - nobody is called out
   */
  readonly pagerDuty?: Readonly<Record<string, never>> | undefined;
  /**
   * A service that expects a sign of life every few minutes and raises the alarm without it: nothing inside the cluster can tell
   * that the cluster is gone.
   * @default - none
   */
  readonly deadMansSwitch?: Readonly<Record<string, never>> | undefined;
}

/** Receivers that need a secret: which variable gives it, and what it is. */
export const receiverSecrets = {
  slack: { key: "slack_webhook_url", what: "URL of the Slack webhook" },
  email: { key: "smtp_password", what: "password of the SMTP server" },
  pagerDuty: {
    key: "pagerduty_routing_key",
    what: "integration key of the PagerDuty service (Events API v2)",
  },
  deadMansSwitch: { key: "dead_mans_switch_url", what: "URL that the dead-man's switch wants to be called" },
} as const satisfies Record<keyof Alerting, { readonly key: string; readonly what: string }>;

/** Name of the Secret with the receivers' secrets; the operator mounts it under `/etc/alertmanager/secrets`. */
export const receiverSecretName = "alertmanager-receivers";

const secretFile = (receiver: keyof Alerting): string =>
  `/etc/alertmanager/secrets/${receiverSecretName}/${receiverSecrets[receiver].key}`;

/** One receiver ("Alertmanager: Configuration", receiver). */
interface Receiver {
  readonly name: string;
  readonly slack_configs?: readonly {
    readonly api_url_file: string;
    readonly channel: string;
    readonly send_resolved: boolean;
    readonly title: string;
    readonly text: string;
  }[];
  readonly email_configs?: readonly {
    readonly to: string;
    readonly from: string;
    readonly smarthost: string;
    readonly auth_username: string;
    readonly auth_password_file: string;
    readonly require_tls: boolean;
    readonly send_resolved: boolean;
  }[];
  readonly pagerduty_configs?: readonly {
    readonly routing_key_file: string;
    readonly send_resolved: boolean;
  }[];
  readonly webhook_configs?: readonly { readonly url_file: string; readonly send_resolved: boolean }[];
}

interface Route {
  readonly receiver: string;
  readonly matchers?: readonly string[];
  readonly group_by?: readonly string[];
  readonly group_wait?: string;
  readonly group_interval?: string;
  readonly repeat_interval?: string;
  readonly routes?: readonly Route[];
}

interface InhibitRule {
  readonly source_matchers: readonly string[];
  readonly target_matchers: readonly string[];
  readonly equal: readonly string[];
}

/** The part of Alertmanager's configuration that this platform sets. */
export interface AlertmanagerConfig {
  readonly global: { readonly resolve_timeout: string };
  readonly route: Route;
  readonly receivers: readonly Receiver[];
  readonly inhibit_rules: readonly InhibitRule[];
}

/** Refuses what Alertmanager would accept and never deliver. */
export function alertingProblems({ slack, email }: Alerting): string[] {
  const problems: string[] = [];
  if (slack && !/^#[a-z0-9][a-z0-9_-]{0,79}$/.test(slack.channel)) {
    problems.push(
      `slack.channel is "${slack.channel}"; it must be a channel with its hash, lower-case, for example "#dagster-alerts"`,
    );
  }
  if (email) {
    for (const field of ["to", "from"] as const) {
      if (!/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(email[field])) {
        problems.push(`email.${field} is "${email[field]}"; it must be an e-mail address`);
      }
    }
    if (!/^[a-zA-Z0-9.-]+:\d{2,5}$/.test(email.smarthost)) {
      problems.push(
        `email.smarthost is "${email.smarthost}"; it must be a host and a port, for example "smtp.example.com:587"`,
      );
    }
  }
  return problems;
}

/**
 * Alertmanager's configuration: critical alerts go to everyone, warnings to Slack and e-mail, what is only for information to
 * nobody. A worse alert silences the lesser ones of the same name and namespace.
 */
export function alertmanagerConfig(alerting: Alerting): AlertmanagerConfig {
  const { slack, email, pagerDuty, deadMansSwitch } = alerting;
  const messages = {
    ...(slack
      ? {
          slack_configs: [
            {
              api_url_file: secretFile("slack"),
              channel: slack.channel,
              send_resolved: true,
              title:
                '[{{ .Status | toUpper }}{{ if eq .Status "firing" }}:{{ .Alerts.Firing | len }}{{ end }}] {{ .CommonLabels.alertname }}',
              text: "{{ range .Alerts }}*{{ .Annotations.summary }}*\n{{ .Annotations.description }}\n{{ with .Annotations.runbook_url }}<{{ . }}|Runbook>{{ end }}\n{{ end }}",
            },
          ],
        }
      : {}),
    ...(email
      ? {
          email_configs: [
            {
              to: email.to,
              from: email.from,
              smarthost: email.smarthost,
              auth_username: email.username,
              auth_password_file: secretFile("email"),
              require_tls: true,
              send_resolved: true,
            },
          ],
        }
      : {}),
  };
  return {
    global: { resolve_timeout: "5m" },
    route: {
      receiver: "null",
      group_by: ["namespace", "alertname"],
      group_wait: "30s",
      group_interval: "5m",
      repeat_interval: "4h",
      routes: [
        {
          receiver: deadMansSwitch ? "dead-mans-switch" : "null",
          matchers: ['alertname = "Watchdog"'],
          ...(deadMansSwitch ? { group_wait: "0s", group_interval: "1m", repeat_interval: "1m" } : {}),
        },
        { receiver: "critical", matchers: ['severity = "critical"'], repeat_interval: "1h" },
        { receiver: "warning", matchers: ['severity = "warning"'] },
      ],
    },
    receivers: [
      { name: "null" },
      {
        name: "critical",
        ...messages,
        ...(pagerDuty
          ? { pagerduty_configs: [{ routing_key_file: secretFile("pagerDuty"), send_resolved: true }] }
          : {}),
      },
      { name: "warning", ...messages },
      ...(deadMansSwitch
        ? [
            {
              name: "dead-mans-switch",
              webhook_configs: [{ url_file: secretFile("deadMansSwitch"), send_resolved: false }],
            },
          ]
        : []),
    ],
    inhibit_rules: [
      {
        source_matchers: ['severity = "critical"'],
        target_matchers: ['severity =~ "warning|info"'],
        equal: ["namespace", "alertname"],
      },
      {
        source_matchers: ['severity = "warning"'],
        target_matchers: ['severity = "info"'],
        equal: ["namespace", "alertname"],
      },
      // InfoInhibitor fires where only information is firing: it keeps that quiet
      {
        source_matchers: ['alertname = "InfoInhibitor"'],
        target_matchers: ['severity = "info"'],
        equal: ["namespace"],
      },
    ],
  };
}

/** The receivers that are in use and need a secret. */
export const receiversWithSecrets = (alerting: Alerting): readonly (keyof Alerting)[] =>
  (Object.keys(receiverSecrets) as (keyof Alerting)[]).filter((receiver) => alerting[receiver] !== undefined);
