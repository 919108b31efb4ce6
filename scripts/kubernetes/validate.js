// Reads manifests as a JSON array from stdin, and checks each custom resource against the model of its kind. Prints what
// is wrong, and ends with 1 then.
import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const models = { PrometheusRule, ScaledObject, ServiceMonitor };
for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  const Model = models[manifest.kind];
  try {
    if (Model === undefined) throw new Error("no model is known");
    new Model(manifest).validate();
  } catch (error) {
    console.log(`${manifest.kind} ${manifest.metadata.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
