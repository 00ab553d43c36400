// In the place of Chart.js: this parleyd was built without the package libjs-chart.js.
