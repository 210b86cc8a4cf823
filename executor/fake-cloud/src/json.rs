//! Services that speak JSON: the target header says service and action.

use crate::money::dollars;
use crate::world::{Refusal, World};
use serde_json::{Value, json};

impl World {
    pub(crate) fn json(&mut self, target: &str, body: &str) -> Result<Value, Refusal> {
        let request: Value = serde_json::from_str(body)
            .map_err(|error| Refusal::new("SerializationException", error.to_string()))?;
        match target.split_once('.') {
            Some(("AmazonSQS", action)) => self.sqs(action, &request),
            Some(("AmazonSSM", "GetParameter")) => {
                let name = request["Name"].as_str().unwrap_or_default();
                let found = self.parameter(name);
                found
                    .map(|one| json!({ "Parameter": one }))
                    .ok_or_else(|| Refusal::new("ParameterNotFound", name))
            }
            Some(("AmazonSSM", "GetParameters")) => {
                let names: Vec<&str> =
                    request["Names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let found: Vec<Value> = names.iter().filter_map(|name| self.parameter(name)).collect();
                let missing: Vec<&&str> =
                    names.iter().filter(|name| !self.script.parameters.contains_key(**name)).collect();
                Ok(json!({ "Parameters": found, "InvalidParameters": missing }))
            }
            Some(("AWSPriceListService", "GetProducts")) => Ok(self.products(&request)),
            _ => Err(Refusal::new("UnknownOperationException", format!("{target} is not known here"))),
        }
    }

    fn parameter(&self, name: &str) -> Option<Value> {
        let value = self.script.parameters.get(name)?;
        Some(json!({ "Name": name, "Type": "String", "Value": value, "Version": 1 }))
    }

    /// On-demand prices. Filters on anything but the instance type are taken as those of Linux, shared, used.
    fn products(&self, request: &Value) -> Value {
        let wanted =
            request["Filters"].as_array().into_iter().flatten().find(|one| one["Field"] == "instanceType");
        let wanted = wanted.and_then(|one| one["Value"].as_str());
        let from: usize = request["NextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
        let most = request["MaxResults"].as_u64().unwrap_or(100).clamp(1, 100) as usize;
        let types = self.catalog.types.iter().filter(|one| wanted.is_none_or(|name| name == one.name));
        let priced: Vec<(&str, i64)> = types
            .filter_map(|one| {
                let zone = one.zones.first()?;
                Some((one.name.as_str(), self.price(&one.name, &zone.zone, "on-demand")?))
            })
            .collect();
        let list: Vec<String> = priced
            .iter()
            .skip(from)
            .take(most)
            .map(|(name, price)| {
                // The price list is a list of texts that are JSON.
                json!({
                    "product": {
                        "productFamily": "Compute Instance",
                        "attributes": {
                            "instanceType": name, "regionCode": self.script.region, "operatingSystem": "Linux",
                            "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used",
                        },
                        "sku": format!("SKU{name}"),
                    },
                    "serviceCode": "AmazonEC2",
                    "terms": { "OnDemand": { "term": { "priceDimensions": { "dimension": {
                        "unit": "Hrs", "pricePerUnit": { "USD": dollars(*price) },
                    } } } } },
                })
                .to_string()
            })
            .collect();
        let mut answer = json!({ "FormatVersion": "aws_v1", "PriceList": list });
        if from + most < priced.len() {
            answer["NextToken"] = (from + most).to_string().into();
        }
        answer
    }
}
