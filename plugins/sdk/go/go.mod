module github.com/sluicegate/sluicegate/plugins/sdk/go

go 1.24
