"""HTML pages for the user: the generated structures, the verdict on the data, and the accuracy of the student.

Every page is one HTML file that works offline: inline CSS and SVG, no script, no font and no picture from elsewhere.

    audit.html     :func:`potstill.report.audit.write_audit_page`
    evaluate.html  :func:`potstill.report.evaluate.write_evaluate_page`
    report.html    :func:`potstill.run.pages.write_run_page`, the one to open first
"""
