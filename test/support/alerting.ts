import type { Alerting } from "../../lib/monitoring";

/** Every receiver that there is. */
export const everything: Alerting = {
  slack: { channel: "#dagster-alerts" },
  email: {
    to: "platform@example.com",
    from: "alerts@example.com",
    smarthost: "smtp.example.com:587",
    username: "alerts",
  },
  pagerDuty: {},
  deadMansSwitch: {},
};
