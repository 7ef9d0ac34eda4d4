module github.com/sluicegate/sluicegate/plugins/mask

go 1.24

require github.com/sluicegate/sluicegate/plugins/sdk/go v0.1.0

replace github.com/sluicegate/sluicegate/plugins/sdk/go => ../sdk/go
