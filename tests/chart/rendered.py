"""Rendered documents in as YAML, out as a list in JSON. Each is validated by the schemas of Kubernetes."""
import json
import sys

import kubernetes_validate
import yaml

# Of operators, whose schemas are not Kubernetes'.
FOREIGN = {("cert-manager.io/v1", "Certificate"), ("monitoring.coreos.com/v1", "PodMonitor")}

documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
for document in documents:
    kind = (document["apiVersion"], document["kind"])
    if kind not in FOREIGN:
        try:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            sys.exit(f"{kind[1]} {document['metadata']['name']}: {error}")
json.dump(documents, sys.stdout)
